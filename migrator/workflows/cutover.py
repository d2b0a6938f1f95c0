"""`migrate cutover`: one attempt to switch the application, undone as a whole if anything fails before the switch.

An attempt that was killed is undone, or completed, by the next call. Not here: what the steps do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg

from migrator.errors import MigrateError, StoppedError
from migrator.events import Notice
from migrator.formatting import format_duration
from migrator.state import cutover_steps, sync
from migrator.state.cutover_steps import DONE, FORWARD, LAST, StepRecord
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows.cutover_check import Summary
from migrator.workflows.cutover_journal import CutoverJournal, Detail, Step
from migrator.workflows.migration import MigrationContext

COMMITTED = "The switch is committed. The same command completes it."


@dataclass(frozen=True, kw_only=True)
class CutoverOptions:
    """`decide` shows the summary and raises an error unless the cutover may go on; `wait_for_operator` waits until the
    operator has stopped the writes. `folder`: where hooks start. `max_downtime`: in seconds.
    """

    decide: Callable[[Summary], None]
    wait_for_operator: Callable[[], None]
    folder: Path
    max_downtime: float
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class CutoverReport:
    """What an attempt did. `status`: switched, rehearsed or undone; `downtime`: seconds without writes.

    `late`: writes to MongoDB that were noticed after the switch. `summary`: on which the decision was made.
    """

    status: str
    direction: str
    downtime: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    late: int = 0
    summary: Summary | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "direction": self.direction,
            "downtime_seconds": None if self.downtime is None else round(self.downtime, 3),
            "steps": [{"step": name, "seconds": round(seconds, 3)} for name, seconds in self.seconds.items()],
            "late_writes": self.late,
            "summary": None if self.summary is None else self.summary.as_json(),
        }


class Switch(Protocol):
    """The steps of one direction."""

    @property
    def late(self) -> int: ...

    def before(self) -> list[Step]:
        """Return the steps up to the switch."""
        ...

    def after(self) -> list[Step]:
        """Return the steps after it. They can be repeated, and are never undone."""
        ...


class Downtime:
    """The time without writes, which is limited."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._began: float | None = None
        self._ended: float | None = None

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        self._ended = time.monotonic()

    @property
    def seconds(self) -> float | None:
        """The seconds so far, or until `end`; None if the writes were not stopped."""
        if self._began is None:
            return None
        return (self._ended or time.monotonic()) - self._began

    @property
    def left(self) -> float:
        return self._most - (self.seconds or 0.0)

    def check(self) -> None:
        """Raises: `StoppedError` if the limit is exceeded."""
        if self.left < 0:
            raise StoppedError(
                f"the cutover needs longer than {self._most:g} s without writes",
                "Try when the application writes less, or allow more with --max-downtime.",
            )


def execute(switch: Switch, journal: CutoverJournal, downtime: Downtime) -> CutoverReport:
    """Execute the steps, and undo all of them after an error before the switch; a dry run undoes them, too.

    Raises: the error of the step that failed; `StoppedError` if it is not known whether the switch is committed.
    """
    before = switch.before()
    steps = {each.name: each for each in before}
    try:
        for step in before:
            if not (step.commits and journal.dry_run):
                journal.run(step)
    except BaseException as error:
        if not (before[-1].name in journal.seconds and _has_switched(journal)):
            _undo(journal, steps, error)
            raise
    if journal.dry_run:
        measured = downtime.seconds
        _undo(journal, steps, None)
        return CutoverReport(
            status="rehearsed", direction=journal.direction, downtime=measured, seconds=journal.seconds
        )  # fmt: skip
    complete(switch, journal)
    downtime.end()
    return CutoverReport(
        status="switched",
        direction=journal.direction,
        downtime=downtime.seconds,
        seconds=journal.seconds,
        late=switch.late,
    )


def complete(switch: Switch, journal: CutoverJournal) -> None:
    """Execute the steps after the switch. Raises: `MigrateError` with what has been reached."""
    try:
        for step in switch.after():
            journal.run(step)
    except MigrateError as error:
        error.hint = f"{COMMITTED} {error.hint}".strip()
        raise
    except (psycopg.Error, KeyboardInterrupt):
        journal.emit(Notice(text=COMMITTED, level="warning"))
        raise


def _has_switched(journal: CutoverJournal) -> bool:
    """Return whether the switch was committed although its step failed.

    Raises: `StoppedError` if the target cannot be asked.
    """
    try:
        with closing(journal.connect()) as connection:
            is_switched = sync.read_state(connection, journal.namespace) == sync.SWITCHED
            return is_switched == (journal.direction == FORWARD)
    except (psycopg.Error, MigrateError) as error:
        raise StoppedError(
            "the target cannot be reached, so it is not known whether the switch is committed",
            "The writes of the application are still stopped. When the target can be reached again, run this command"
            " again: it completes the switch, or undoes it.",
        ) from error


def _undo(journal: CutoverJournal, steps: Mapping[str, Step], error: BaseException | None) -> None:
    """Undo the steps, and add to the error what that did."""
    began = time.monotonic()
    failed = journal.undo(steps)
    side = "MongoDB" if journal.direction == FORWARD else "PostgreSQL"
    if failed:
        text = f"Not undone: {'; '.join(failed)}. Run `migrate cutover --undo` when the cause is fixed."
    else:
        text = (
            f"All steps are undone ({format_duration(time.monotonic() - began)}): the application goes on with {side}."
        )
    if isinstance(error, MigrateError):
        error.hint = f"{text} {error.hint}".strip()
        error.details = {**error.details, "undone": not failed, "steps": dict(journal.seconds)}
    elif error is not None or failed:
        journal.emit(Notice(text=text, level="warning" if failed else "info"))


# --- an attempt that was killed --------------------------------------------------------------------------------------


def find_unfinished(connection: Connection, context: MigrationContext) -> list[StepRecord]:
    """Return the steps of the latest attempt that are to be undone; none if it switched."""
    records = cutover_steps.read_latest(connection, context.namespace)
    return [] if any(each.is_switch for each in records) else [each for each in records if each.is_left]


def recover(switch: Switch, journal: CutoverJournal, records: list[StepRecord]) -> bool:
    """Undo the steps of an attempt that was killed, and return whether there were any.

    Raises: `StoppedError` if one cannot be undone.
    """
    steps = {each.name: each for each in switch.before() if each.undo is not None}
    left: dict[str, Detail] = {each.step: dict(each.detail) for each in records if each.step in steps}
    if not left:
        return False
    journal.emit(Notice(text="The last cutover was interrupted. Its steps are undone first.", level="warning"))
    if failed := journal.undo(steps, left):
        raise StoppedError(
            f"the last cutover could not be undone: {'; '.join(failed)}",
            "Fix the cause, then run this command again.",
        )
    return True


def needs_completion(connection: Connection, context: MigrationContext, direction: str) -> StepRecord | None:
    """Return a step of the latest attempt if it switched in this direction, and a step after the switch is missing."""
    records = cutover_steps.read_latest(connection, context.namespace)
    switched = next((each for each in records if each.is_switch), None)
    if switched is None or switched.direction != direction:
        return None
    return None if any(each.step == LAST[direction] and each.status == DONE for each in records) else switched


def open_journal(
    context: MigrationContext,
    target: Target,
    connection: Connection,
    direction: str,
    *,
    dry_run: bool = False,
    attempt: int | None = None,
) -> CutoverJournal:
    """Return the journal of a new attempt, or of one that was interrupted."""
    return CutoverJournal(
        connection=connection,
        namespace=context.namespace,
        connect=target.connect,
        emit=context.emit,
        attempt=attempt or cutover_steps.new_attempt(connection, context.namespace),
        direction=direction,
        dry_run=dry_run,
    )
