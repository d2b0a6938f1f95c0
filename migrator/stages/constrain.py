"""The stage post-data: creates indexes, foreign keys and row-level security after the load.

It recreates what `prepare` dropped and adds what is missing. Fast changes are executed first, one after the other:
policies, row-level security, and foreign keys without validation. Then slow changes are executed in parallel: the
validation of foreign keys, indexes, and keys that the load did not need. Each change commits with its record, so an
interrupted run resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from migrator.embedding import vector_indexes
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.mapping.collection import VectorColumn
from migrator.postgres.scheduler import Graph, ScheduledTask, Scheduler
from migrator.postgres.session import give_build_memory
from migrator.postgres.statements import Ref
from migrator.stages.arrangement import COSTS, arrange, table_sizes
from migrator.stages.changes import Change, Phase, execute_change, find_changes
from migrator.state.records import Namespace
from migrator.targets.server import WORKER

Connection = psycopg.Connection[Any]

DEFAULT_SESSIONS = 2  # parallel sessions for indexes and constraints if engine.workers is 0
EARLY_BUILD_BYTES = 16 << 20  # smaller tables are indexed in the stage post-data, a smaller database in one session


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How to build post-data: with row-level security or not, in how many parallel sessions, and together with which
    other tasks (they depend on nothing here). `table_tasks` run before the changes of their tables, whose locks they
    would have to wait for. `left_out`: objects that are not built."""

    rls: bool
    sessions: int
    other_tasks: Graph = field(default_factory=dict)
    table_tasks: Mapping[str, ScheduledTask] = field(default_factory=dict)
    left_out: frozenset[Ref] = frozenset()


def build_post_data(connect: Callable[[], Connection], metadata: MetaData, options: BuildOptions, emit: Emit) -> None:
    """Create everything that is missing in the target's schema after the load.

    Raises: `DifferenceError` if rows violate a foreign key or are too large for an index; `TargetError`;
    `StoppedError`.
    """
    with build_session(connect()) as connection:
        found = find_changes(connection, metadata, options.rls)
        changes = [change for change in found if change.ref not in options.left_out]
        total = len(changes) + len(options.other_tasks) + len(options.table_tasks)
        emit(StepStarted(step="post-data", total=total, unit="statements"))
        fast = [change for change in changes if change.phase == Phase.FAST]
        for done, change in enumerate(fast, start=1):
            execute_change(change, connection)
            emit(StepAdvanced(step="post-data", done=done))
        sizes = table_sizes(connection)
        slow = [change for change in changes if change.phase != Phase.FAST]
        graph = {**arrange(slow, sizes, options.table_tasks), **options.other_tasks}
    if graph:
        # In a small database, the indexes exist sooner than further sessions.
        sessions = options.sessions if sum(sizes.values()) >= EARLY_BUILD_BYTES else 1
        size = min(sessions, len(graph))
        with Scheduler(lambda: build_session(connect()), size, limit_workers) as scheduler:
            for done, _ in enumerate(scheduler.run_all(graph), start=len(fast) + 1):
                emit(StepAdvanced(step="post-data", done=done))
    emit(StepFinished(step="post-data", note=f"{total} statements"))


class EarlyIndexBuilder:
    """Builds the slowest indexes of a table as soon as all its rows exist, in parallel to the rest of the run.

    Only full-text indexes, because the rest of the run does not use them. An exception in the block cancels the builds.
    """

    def __init__(self, connect: Callable[[], Connection], metadata: MetaData, emit: Emit) -> None:
        self._connect, self._metadata, self._emit = connect, metadata, emit
        self._exits = ExitStack()
        self._scheduler: Scheduler | None = None
        self._started: set[Ref] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exits.__exit__(kind, error, at)

    def start(self, connection: Connection, table: str) -> None:
        """Start to index a table that has all its rows; do nothing if the table is small."""
        if table_sizes(connection).get(table, 0) < EARLY_BUILD_BYTES:
            return
        for change in self._find_indexes(connection, {table}):
            if change.method in COSTS:
                self._emit(StepStarted(step=f"build {change.ref.name}", unit=""))
                if self._scheduler is None:
                    new = Scheduler(lambda: build_session(self._connect()), 1)
                    self._scheduler = self._exits.enter_context(new)
                self._scheduler.submit(change.task())
                self._started.add(change.ref)

    def build_alongside(self, connection: Connection, sessions: int, other_tasks: Graph) -> None:
        """Build the other indexes of the same tables, whose rows are final now, and execute `other_tasks`.

        Index builds of one table run in parallel, while a validation of its foreign keys would have to wait. If no
        early build is running, `build_post_data` does all this. It also executes the longest of `other_tasks`, on which
        none depends, if an early build uses as many processes as there are sessions: the foreign keys of a table, which
        it validates one after the other, leave the others idle.
        """
        if not self._started:
            return
        if other_tasks and count_processes(connection) >= sessions:
            longest = max(other_tasks, key=lambda task: task.cost)
            other_tasks = {task: needs for task, needs in other_tasks.items() if task != longest}
        found = self._find_indexes(connection, {ref.table for ref in self._started})
        others = [change.task() for change in found if change.ref not in self._started]
        graph: Graph = {**other_tasks, **{task: set() for task in others}}
        if not graph:
            return
        step = "build other indexes"
        self._emit(StepStarted(step=step, total=len(graph), unit="indexes"))
        size = min(sessions, len(graph))
        with Scheduler(lambda: build_session(self._connect()), size, limit_workers) as scheduler:
            for done, _ in enumerate(scheduler.run_all(graph), start=1):
                self._emit(StepAdvanced(step=step, done=done))
        self._emit(StepFinished(step=step, note=f"{format_count(len(graph), 'indexes')}"))

    def _find_indexes(self, connection: Connection, tables: set[str]) -> Iterator[Change]:
        for change in find_changes(connection, self._metadata, rls=False):
            if change.ref.table in tables and change.ref.kind == "index":
                yield change

    def finish(self) -> None:
        """Wait until all builds are finished. Raises: the same errors as `build_post_data`."""
        for task in self._scheduler.as_completed() if self._scheduler is not None else ():
            self._emit(StepFinished(step=f"build {task.name}"))
        self._started.clear()


def count_processes(connection: Connection) -> int:
    """Return how many processes of the server build a full-text index, if it has a core for each."""
    if connection.info.server_version < 180_000:
        return 1
    found = connection.execute("SELECT 1 + current_setting('max_parallel_maintenance_workers')::integer").fetchone()
    assert found is not None  # the SELECT returns one row
    return int(found[0])


def rebuild_vector_indexes(connection: Connection, namespace: Namespace, embedded: VectorColumn, emit: Emit) -> None:
    """Rebuild vector indexes with the vectors that were added after them. The table stays readable and writable."""
    vector_indexes.drop_leftovers(connection, namespace, embedded)
    found = vector_indexes.find_indexes(connection, namespace, embedded)
    emit(StepStarted(step="vector index", total=len(found), unit="indexes"))
    for index in found:
        statement = sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier(namespace.rows, index.name))
        prepare_session(connection).execute(statement)
    vector_indexes.mark_stale(connection, namespace, stale=False)
    emit(StepFinished(step="vector index", note=f"{len(found)} rebuilt"))


def prepare_session(connection: Connection) -> Connection:
    """Configure a session for long statements and return it."""
    give_build_memory(connection)
    connection.execute("SELECT set_config('application_name', %s, false)", (WORKER,))
    # If this process is killed, the server ends the statement and releases its lock, so that the next run can start.
    with suppress(psycopg.DataError):  # the operating system of the server does not support it
        connection.execute("SET client_connection_check_interval = '5s'")
    return connection


def build_session(connection: Connection) -> Connection:
    """Configure a session for the changes of a run, whose last commit makes them durable, and return it.

    Most changes take less time than their commit would wait for the disk.
    """
    prepare_session(connection).execute("SET synchronous_commit = off")
    return connection


def limit_workers(connection: Connection, is_last: bool) -> None:
    """Let a session build an index alone while others build some, too: sorting in several processes takes more time."""
    connection.execute(
        "RESET max_parallel_maintenance_workers" if is_last else "SET max_parallel_maintenance_workers = 0"
    )
