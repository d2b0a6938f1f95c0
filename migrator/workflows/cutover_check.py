"""What decides about go or no-go of a cutover, found while the application still writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from migrator.errors import MigrateError, StoppedError, UsageError
from migrator.formatting import format_count, format_duration
from migrator.monitoring.sync_status import SyncStatus, read_sync_status
from migrator.state import full_verification, journal, sync
from migrator.state.follow_lock import paused
from migrator.state.full_verification import FullVerification
from migrator.state.ledger import count_by
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.plan import rehearse_return
from migrator.workflows.reverse import prepare_reverse

RECENT_SECONDS: Final = 24 * 3600  # the age of a full verification
LAG_SECONDS: Final = 60.0  # for which the lag may be too large before the cutover is given up
SAMPLED_ROWS: Final = 20  # of each collection, whose columns are changed in memory
SHOWN_COLUMNS: Final = 8
_POLL_SECONDS: Final = 0.1
_VERIFY: Final = "Run `migrate verify --level roundtrip` while `migrate follow` runs, then this command again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One line of the summary."""

    name: str
    go: bool
    text: str
    remedy: str = ""


@dataclass(slots=True, kw_only=True)
class Summary:
    """What is shown before the writes are stopped. `title`: from where to where."""

    title: str
    criteria: list[Criterion] = field(default_factory=list)

    def add(self, name: str, text: str, *, go: bool = True, remedy: str = "") -> None:
        self.criteria.append(Criterion(name=name, go=go, text=text, remedy=remedy))

    @property
    def go(self) -> bool:
        return all(each.go for each in self.criteria)

    def as_json(self) -> dict[str, Any]:
        return {"go": self.go, "title": self.title, "criteria": [asdict(each) for each in self.criteria]}

    def require_go(self) -> None:
        """Raises: `StoppedError` with what is missing."""
        missing = [each for each in self.criteria if not each.go]
        if missing:
            raise StoppedError(
                "no-go: " + "; ".join(f"{each.name}: {each.text}" for each in missing),
                hint=" ".join(dict.fromkeys([*(each.remedy for each in missing if each.remedy), "Nothing changed."])),
                details={"summary": self.as_json()},
            )


def require_followed(connection: Connection, context: MigrationContext) -> None:
    """Check that a cutover is possible at all.

    Raises: `UsageError` if no run has finished, the source is not followed, or the application was switched before.
    """
    journal.require_finished(connection, context.namespace)
    state = sync.read_state(connection, context.namespace)
    if state is None:
        raise UsageError("the source was never followed", hint="Run `migrate follow` first, then `migrate verify`.")
    if state in (sync.SWITCHED, sync.COMPLETE):
        raise UsageError(
            "the application has been switched to PostgreSQL already",
            hint="`migrate status` shows it. `migrate cutover --back` switches back, `migrate complete` ends it."
            if state == sync.SWITCHED
            else "`migrate complete` has ended the migration.",
        )


def require_switched(connection: Connection, context: MigrationContext) -> None:
    """Raises: `UsageError` unless the application uses PostgreSQL and the migration is not complete."""
    journal.require_finished(connection, context.namespace)
    state = sync.read_state(connection, context.namespace)
    if state == sync.COMPLETE:
        raise UsageError("the migration is complete already", hint="Nothing is left to do.")
    if state != sync.SWITCHED:
        raise UsageError("the application has not been switched to PostgreSQL", hint="`migrate cutover` switches it.")


def check_back(context: MigrationContext, connection: Connection, target: str, check: Callable[[], None]) -> Summary:
    """Return the summary of a switch back to MongoDB."""
    summary = Summary(title=f"{target} → {context.source.label}")
    _check_return_lag(summary, context, connection, check)
    _count_records(summary, context, connection)
    _describe_stop(summary, context)
    return summary


def _check_return_lag(
    summary: Summary, context: MigrationContext, connection: Connection, check: Callable[[], None]
) -> None:
    most, end = context.config.cutover.max_lag_seconds, time.monotonic() + LAG_SECONDS
    query = context.namespace.sql(
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8 FROM {changes}"
    )
    while True:
        check()
        found = connection.execute(query).fetchone()
        assert found is not None  # an aggregate returns a row
        waiting, lag = int(found[0]), float(found[1])
        if lag <= most or time.monotonic() > end:
            break
        time.sleep(_POLL_SECONDS)
    text = f"{lag:.1f} s behind, {format_count(waiting, 'changes')} waiting"
    remedy = f"The limit is {most:g} s (cutover.max_lag_seconds). `migrate status` shows the progress."
    summary.add("lag", text, go=lag <= most, remedy=remedy)


def _count_records(summary: Summary, context: MigrationContext, connection: Connection) -> None:
    query = context.namespace.sql("SELECT (SELECT count(*) FROM {conflicts}), (SELECT count(*) FROM {unreturned})")
    found = connection.execute(query).fetchone()
    assert found is not None  # the SELECT returns one row
    conflicts, unreturned = found
    text = "none" if not conflicts else f"{conflicts:,} documents of MongoDB were overwritten (migrator.conflicts)"
    summary.add("conflicts", text)
    text = "none" if not unreturned else f"{unreturned:,} values, which MongoDB will not have (migrator.unreturned)"
    summary.add("not returned", text)


def check_forward(
    context: MigrationContext, connection: Connection, target: Target, check: Callable[[], None]
) -> tuple[Summary, FullVerification | None]:
    """Return the summary of a switch to PostgreSQL, and the verification from which it compares changes."""
    summary = Summary(title=f"{context.source.label} → {target.label}")
    _check_lag(summary, context, connection, check)
    verification = _check_verification(summary, context, connection)
    _check_rejects(summary, context, connection)
    _check_reverse(summary, context, connection)
    _describe_lost(summary, Pipeline(context=context, connection=connection, dsn=target.dsn))
    _check_block(summary, context)
    _describe_stop(summary, context)
    return summary, verification


def _check_lag(summary: Summary, context: MigrationContext, connection: Connection, check: Callable[[], None]) -> None:
    most, end = context.config.cutover.max_lag_seconds, time.monotonic() + LAG_SECONDS
    while True:
        check()
        status = read_sync_status(connection, context.namespace)
        assert status is not None  # `require_followed`
        is_near = _lag_of(status) <= most and status.marked == 0
        if is_near or time.monotonic() > end:
            break
        time.sleep(_POLL_SECONDS)
    lag = f"{_lag_of(status):.1f} s behind" if _lag_of(status) < 1e6 else "not received yet"
    text = f"{lag}, {format_count(status.dirty, 'changes')} waiting"
    text += f", {format_count(status.marked, 'collections')} to compare" if status.marked else ""
    remedy = f"The limit is {most:g} s (cutover.max_lag_seconds). `migrate status --watch` shows the progress."
    summary.add("lag", text, go=is_near, remedy=remedy)


def _lag_of(status: SyncStatus) -> float:
    return max(float("inf") if status.receive_lag is None else status.receive_lag, status.apply_lag)


def _check_verification(summary: Summary, context: MigrationContext, connection: Connection) -> FullVerification | None:
    found = full_verification.read(connection, context.namespace)
    if found is None:
        summary.add("verification", "no full verification without a difference is recorded", go=False, remedy=_VERIFY)
        return None
    text = f"no difference {format_duration(found.age)} ago; later changes are compared now"
    summary.add("verification", text, go=found.age <= RECENT_SECONDS, remedy=_VERIFY)
    return found


def _check_rejects(summary: Summary, context: MigrationContext, connection: Connection) -> None:
    rejected = sum(count_by(connection, context.namespace, "rejects", "reason").values())
    text = f"{format_count(rejected, 'rejected documents')}, which the application will not see" if rejected else "none"
    summary.add("rejected", text)


def _check_reverse(summary: Summary, context: MigrationContext, connection: Connection) -> None:
    try:
        with paused(connection):  # it locks all tables, which would be a deadlock with a batch of changes
            prepare_reverse(context, connection)
    except MigrateError as error:
        summary.add("reverse sync", error.message, go=False, remedy=error.hint)
        return
    summary.add("reverse sync", "triggers can be created, MongoDB can be written to")


def _describe_lost(summary: Summary, pipeline: Pipeline) -> None:
    """Tell which columns MongoDB cannot hold after a change: those of a sample of rows are changed once."""
    found = list(rehearse_return(pipeline, SAMPLED_ROWS))
    columns = [
        f"{each.collection}.{name} ({lost} of {each.tried[name]})"
        for each in found
        for name, lost in each.lost.most_common()
    ]
    if not columns:
        summary.add("not returnable", "every change of the sampled rows can be returned to MongoDB")
        return
    shown = ", ".join(columns[:SHOWN_COLUMNS]) + (", …" if len(columns) > SHOWN_COLUMNS else "")
    text = f"changes of {format_count(len(columns), 'columns')}, which wait in migrator.unreturned: {shown}"
    summary.add("not returnable", text)


def _check_block(summary: Summary, context: MigrationContext) -> None:
    if context.config.cutover.stop_writes != "block":
        return
    from migrator.sources.write_block import ServerWrites  # imports pymongo

    try:
        with closing(ServerWrites(context.config.source.url, context.source.database)) as writes:
            writes.check_block()
    except MigrateError as error:
        summary.add("write block", error.message, go=False, remedy=error.hint)


def _describe_stop(summary: Summary, context: MigrationContext) -> None:
    settings = context.config.cutover
    stops = {"manual": "by the operator", "hook": "by stop_hook", "block": "MongoDB refuses them"}
    moves = "by switch_hook" if settings.switch_hook else "by the operator"
    summary.add("stop of writes", f"{stops[settings.stop_writes]}; the application is moved {moves}")
