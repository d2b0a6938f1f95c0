"""The record `cutover_steps`: what each attempt at a cutover did, so that a killed one can be undone or completed.

A step is recorded before it begins. `detail` is what its undoing needs, and what is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg.types.json import Jsonb

from migrator.state.records import Connection, Namespace

STARTED: Final = "started"
DONE: Final = "done"
FAILED: Final = "failed"
UNDONE: Final = "undone"
FORWARD: Final = "forward"
BACK: Final = "back"

# The names of steps that others ask for.
SUSPEND_TTL: Final = "suspend TTL"
STOP_WRITES: Final = "stop writes"
REFUSE_WRITES: Final = "refuse writes"
SWITCH: Final = "switch"
MOVE: Final = "move the application"
ADOPT: Final = "record returned rows"
LAST: Final = {FORWARD: MOVE, BACK: ADOPT}
UNDOABLE: Final = frozenset({SUSPEND_TTL, STOP_WRITES, REFUSE_WRITES})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step of an attempt. `seconds`: until its end, or until now."""

    attempt: int
    direction: str
    dry_run: bool
    step: str
    status: str
    began: str
    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_left(self) -> bool:
        """Whether the step changed something that is to be undone, unless the attempt switches."""
        return self.step in UNDOABLE and self.status != UNDONE

    @property
    def is_switch(self) -> bool:
        """Whether the step has committed the switch."""
        return self.step == SWITCH and self.status == DONE

    def as_json(self) -> dict[str, Any]:
        return {
            "attempt": self.attempt,
            "direction": self.direction,
            "dry_run": self.dry_run,
            "step": self.step,
            "status": self.status,
            "began": self.began,
            "seconds": round(self.seconds, 3),
            "detail": dict(self.detail),
        }


def new_attempt(connection: Connection, namespace: Namespace) -> int:
    """Return the number of a new attempt."""
    row = connection.execute(namespace.sql("SELECT coalesce(max(attempt), 0) + 1 FROM {cutover_steps}")).fetchone()
    assert row is not None  # an aggregate returns a row
    return int(row[0])


def begin(connection: Connection, namespace: Namespace, attempt: int, direction: str, dry_run: bool, step: str) -> None:
    """Record that a step begins, perhaps again."""
    query = namespace.sql(
        "INSERT INTO {cutover_steps} (attempt, direction, dry_run, step, status) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (attempt, step) DO UPDATE SET status = excluded.status, began = clock_timestamp(),"
        " finished = NULL"
    )
    connection.execute(query, (attempt, direction, dry_run, step, STARTED))


def update(
    connection: Connection,
    namespace: Namespace,
    attempt: int,
    step: str,
    status: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record the status of a step, and add to its detail. The time of its end is recorded once.

    A switch that is committed has not failed, whatever came after its commit.
    """
    query = namespace.sql(
        "UPDATE {cutover_steps} SET status = %s, detail = detail || %s,"
        " finished = CASE WHEN %s THEN finished ELSE coalesce(finished, clock_timestamp()) END"
        " WHERE attempt = %s AND step = %s AND NOT (%s AND status = 'done')"
    )
    values = (status, Jsonb(dict(detail or {})), status == STARTED, attempt, step, status == FAILED)
    connection.execute(query, values)


def read_latest(connection: Connection, namespace: Namespace) -> list[StepRecord]:
    """Return the steps of the latest attempt, in their order; none before the first attempt."""
    query = namespace.sql(
        "SELECT attempt, direction, dry_run, step, status, began::timestamptz(0)::text,"
        " extract(epoch FROM coalesce(finished, clock_timestamp()) - began)::float8, detail FROM {cutover_steps}"
        " WHERE attempt = (SELECT max(attempt) FROM {cutover_steps}) ORDER BY number"
    )
    return [
        StepRecord(
            attempt=attempt,
            direction=direction,
            dry_run=dry_run,
            step=step,
            status=status,
            began=began,
            seconds=float(seconds),
            detail=detail,
        )
        for attempt, direction, dry_run, step, status, began, seconds, detail in connection.execute(query)
    ]


def find_detail(connection: Connection, namespace: Namespace, step: str) -> dict[str, Any] | None:
    """Return the detail of the newest step with this name that was done and not undone; None if there is none."""
    query = namespace.sql(
        "SELECT detail FROM {cutover_steps} WHERE step = %s AND status = %s AND NOT dry_run"
        " ORDER BY number DESC LIMIT 1"
    )
    found = connection.execute(query, (step, DONE)).fetchone()
    return None if found is None else dict(found[0])
