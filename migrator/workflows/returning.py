"""`migrate follow` after the switch: returns the changes of the target to the source, until it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from migrator.errors import StoppedError
from migrator.events import Notice, StepAdvanced, StepFinished, StepStarted
from migrator.following.indexes import ensure_indexes
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.postgres.table_names import name_of
from migrator.reversing import capture
from migrator.reversing.returner import DocumentWriter, Returner
from migrator.rows.store import RowStore
from migrator.stages.load import order_by_dependency
from migrator.state import journal, sync
from migrator.state.follow_lock import applying, following
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.reverse import count_waiting

STEP = "return changes"
BATCH_CHANGES = 1000
LOCKED_SECONDS = 0.5  # at most, and one batch: then a cutover or a comparison may take the lock
POLL_SECONDS = 0.05  # between two looks for changes
REPORT_SECONDS = 1.0
REPORT_PAUSE = 20  # times as long as the report took


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnOptions:
    """When to stop (default: never). `stopped`: also when it returns true."""

    until_caught_up: bool = False
    stop_at: datetime | None = None
    stopped: Callable[[], bool] | None = None

    def is_time(self) -> bool:
        """Return whether to stop."""
        if self.stop_at is not None and datetime.now(UTC) >= self.stop_at:
            return True
        return self.stopped is not None and self.stopped()


@dataclass(slots=True)
class ReturnCounts:
    """What was returned, over all attempts."""

    changes: int = 0
    documents: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnReport:
    """What was returned by this call. `waiting`: the changed rows that are left; `unreturned`: values in the record."""

    changes: int
    documents: int
    conflicts: int
    unreturned: int
    waiting: int
    seconds: float

    def as_json(self) -> dict[str, object]:
        return {
            "direction": "reverse",
            "returned": self.changes,
            "documents": self.documents,
            "conflicts": self.conflicts,
            "unreturned": self.unreturned,
            "waiting": self.waiting,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class _RealCollections:
    """Reads and writes documents in the collections of the source, by the names of the mappings."""

    writer: DocumentWriter
    mappings: Mapping[str, Collection]

    def find(self, collection: str, source_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        return self.writer.find(self.mappings[collection].source_name, source_ids)

    def write(self, collection: str, documents: Mapping[bytes, bytes | None]) -> None:
        self.writer.write(self.mappings[collection].source_name, documents)


@contextmanager
def open_returner(context: MigrationContext, connection: Connection, dsn: str) -> Iterator[Returner]:
    """Return changes in the block. Raises: `StoppedError` if a trigger is missing or disabled."""
    namespace, mappings = context.namespace, context.definition.mappings
    run, _ = journal.require_finished(connection, namespace)
    captured = {each.name: each for each in capture.captured(mappings.values())}
    capture.require(connection, namespace, captured.values())
    ensure_indexes(connection, namespace)
    from migrator.sources.live_writer import LiveWriter  # imports pymongo, which a dump need not pay for

    pipeline = Pipeline(context=context, connection=connection, dsn=dsn)
    with closing(LiveWriter(context.config.source.url, context.source.database)) as writer:
        yield Returner(
            rows=RowStore(connection, namespace, mappings),
            run=run,
            levels=[[name for name in level if name in captured] for level in order_by_dependency(mappings)],
            resolvers_for=pipeline.resolvers_for,
            writer=_RealCollections(writer, mappings),
            stops_at_conflict=context.config.cutover.on_conflict == "stop",
        )


def drain(returner: Returner, counts: ReturnCounts | None = None) -> ReturnCounts:
    """Return all changes that are committed, and return what was done."""
    counts = counts or ReturnCounts()
    while return_some(returner, counts):
        pass
    return counts


def return_some(returner: Returner, counts: ReturnCounts) -> int:
    """Return some batches of changes, and return the number of their records.

    Raises: `StoppedError` if a mapped table or column is missing. Changes are still recorded.
    """
    try:
        done = returner.return_some(BATCH_CHANGES, LOCKED_SECONDS)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise StoppedError(
            f"a mapped table or column is missing in the target: {error.diag.message_primary}",
            hint="Changes are still recorded. Restore it, or adapt the mapping; then run the same command again.",
        ) from error
    counts.changes += done.changes
    counts.documents += done.documents
    counts.conflicts += done.conflicts
    return done.changes


def return_changes(
    context: MigrationContext, target: Target, connection: Connection, options: ReturnOptions, counts: ReturnCounts
) -> ReturnReport:
    """Return changes until the options say to stop, or a cutover switches back. The same call continues afterwards."""
    began, report_at = time.monotonic(), 0.0
    with following(connection), open_returner(context, connection, target.dsn) as returner:
        context.emit(StepStarted(step=STEP, unit="changes"))
        for text in added_columns(connection, context):
            context.emit(Notice(text=text, level="warning"))
        while not options.is_time() and sync.read_state(connection, context.namespace) == sync.SWITCHED:
            with applying(connection) as is_free:  # a cutover or a comparison may hold the lock
                done = return_some(returner, counts) if is_free else 0
            if not done:
                if options.until_caught_up and is_free:
                    break
                time.sleep(POLL_SECONDS)
            if (now := time.monotonic()) > report_at:
                waiting = count_waiting(connection, context.namespace)  # a second for a million
                report_at = now + REPORT_SECONDS + REPORT_PAUSE * (time.monotonic() - now)
                context.emit(StepAdvanced(step=STEP, done=counts.changes, note=f"{waiting:,} waiting"))
    context.emit(StepFinished(step=STEP, note=f"{format_count(counts.documents, 'documents')} written"))
    found = connection.execute(context.namespace.sql("SELECT count(*) FROM {unreturned} WHERE NOT rounded")).fetchone()
    return ReturnReport(
        changes=counts.changes,
        documents=counts.documents,
        conflicts=counts.conflicts,
        unreturned=int(found[0]) if found else 0,
        waiting=count_waiting(connection, context.namespace),
        seconds=time.monotonic() - began,
    )


def added_columns(connection: Connection, context: MigrationContext) -> Iterator[str]:
    """Yield a warning for each mapped table with columns that the mapping does not know."""
    query = sql.SQL(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attname <> ALL(%s) ORDER BY attname"
    )
    for each in capture.tables_of(context.definition.mappings.values()):
        table = context.namespace.table(name_of(each))
        known = [column.name for column in each.columns]
        found = [name for (name,) in connection.execute(query, (table.as_string(connection), known))]
        if found:
            yield f"columns without a mapping are not returned: {name_of(each)} ({', '.join(found)})"
