"""Current activity of the processes of a run, in the record `heartbeats`: written during a run, read by `status`.

Only the display and the throttling depend on it. The table is unlogged: a crash of the server empties it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg

from migrator.state.records import Namespace

Connection = psycopg.Connection[Any]
FRESH = 15  # seconds; the process that wrote an older row has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """The progress of a step. `total` None: unknown."""

    step: str
    done: int = 0
    total: int | None = None
    unit: str = "documents"
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRow:
    """A row of `heartbeats`. `age`: seconds since the last heartbeat; `seconds`: duration so far, or in total."""

    name: str
    kind: str
    done: int | None
    total: int | None
    unit: str | None
    waiting: str | None
    at: datetime
    age: float
    seconds: float
    ended: bool


def begin(connection: Connection, namespace: Namespace) -> None:
    """Delete the unfinished rows of earlier processes. Finished steps keep their durations."""
    connection.execute(namespace.sql("DELETE FROM {heartbeats} WHERE ended IS NULL"))


def write_steps(connection: Connection, namespace: Namespace, steps: Iterable[StepProgress]) -> None:
    """Record the progress of steps, with a heartbeat."""
    query = namespace.sql(
        "INSERT INTO {heartbeats} AS a (name, kind, done, total, unit, ended)"
        " VALUES (%s, 'step', %s, %s, %s, CASE WHEN %s THEN clock_timestamp() END)"
        " ON CONFLICT (name) DO UPDATE SET done = excluded.done, total = excluded.total, unit = excluded.unit,"
        " at = clock_timestamp(), ended = excluded.ended,"
        " since = CASE WHEN a.ended IS NULL THEN a.since ELSE excluded.since END"
    )
    with connection.cursor() as cursor:
        cursor.executemany(query, [(each.step, each.done, each.total, each.unit, each.ended) for each in steps])


def write_waiting(connection: Connection, namespace: Namespace, kind: str, name: str, waiting: str | None) -> None:
    """Record what the process `name` waits for; None: it does not wait."""
    query = namespace.sql(
        "INSERT INTO {heartbeats} AS a (name, kind, waiting) VALUES (%s, %s, %s) ON CONFLICT (name) DO UPDATE SET"
        " waiting = excluded.waiting, at = clock_timestamp(),"
        " since = CASE WHEN a.waiting IS NULL THEN clock_timestamp() ELSE a.since END"
    )
    connection.execute(query, (name, kind, waiting))


def read_waiting(connection: Connection, namespace: Namespace, name: str) -> str | None:
    """Return what `name` waits for; None if its last heartbeat is older than `FRESH` seconds."""
    query = namespace.sql(
        "SELECT waiting FROM {heartbeats} WHERE name = %s AND at > clock_timestamp() - make_interval(secs => %s)"
    )
    found = connection.execute(query, (name, FRESH)).fetchone()
    return found[0] if found else None


def reserve_slot(connection: Connection, namespace: Namespace, documents: int, per_second: int) -> float:
    """Reserve the time of `documents` at `per_second`, shared by all workers. Return the seconds that remain."""
    query = namespace.sql(
        "INSERT INTO {heartbeats} AS a (name, kind, at)"
        " VALUES ('rate_limit', 'rate_limit', clock_timestamp() + %(took)s)"
        " ON CONFLICT (name) DO UPDATE SET at = greatest(a.at, clock_timestamp() - interval '1 s') + %(took)s"
        " RETURNING extract(epoch FROM at - clock_timestamp())::float8"
    )
    found = connection.execute(query, {"took": timedelta(seconds=documents / per_second)}).fetchone()
    return float(found[0]) if found else 0.0


def read(connection: Connection, namespace: Namespace) -> list[ActivityRow]:
    """Return all rows, the oldest first."""
    query = namespace.sql(
        "SELECT name, kind, done, total, unit, waiting, at, extract(epoch FROM clock_timestamp() - at)::float8,"
        " extract(epoch FROM coalesce(ended, clock_timestamp()) - since)::float8, ended IS NOT NULL"
        " FROM {heartbeats} ORDER BY since, name"
    )
    return [
        ActivityRow(
            name=name, kind=kind, done=done, total=total, unit=unit, waiting=waiting, at=at, age=age, seconds=seconds,
            ended=ended,
        )
        for name, kind, done, total, unit, waiting, at, age, seconds, ended in connection.execute(query)
    ]  # fmt: skip


def ended(progress: StepProgress) -> StepProgress:
    return replace(progress, ended=True, done=progress.total or progress.done)
