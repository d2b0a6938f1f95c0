"""After the load: brings back what `prepare` put aside, adds what is missing of indexes, foreign keys, row security.

What takes no time comes first, one after the other: policies, row security, and foreign keys that check nothing yet.
What takes long follows, several at once: validating those keys, and indexes. Each change commits with its record, so a
run that stopped goes on where it was. Nothing here knows this migration's tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from migrator.embedding import vector_indexes
from migrator.errors import DifferenceError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.mapping.collection import VectorColumn
from migrator.postgres import catalog, ddl, schema_changes
from migrator.postgres.catalog import Catalog
from migrator.postgres.ddl import Ref, Statement
from migrator.postgres.scheduler import Graph, ScheduledTask, Scheduler
from migrator.postgres.schema_changes import Record
from migrator.state.records import Namespace
from migrator.targets.server import WORKER

Connection = psycopg.Connection[Any]
Act = Callable[[Connection], None]

# What a byte of the table costs, a b-tree being 1: that takes 0.7 µs a message of 1.2 KB, full text 63 µs and more.
COSTS = {"gin": 100.0, "gist": 100.0}

WORTH_IT = 16 << 20  # bytes of a table

# An ivfflat index of 1536 dimensions over more than 10,000 rows does not build with the server's default of 64 MB
# ("memory required is 65 MB"). Beyond 256 MB neither that nor a full-text index gets faster. Never less than is set.
MEMORY = """
    SELECT set_config(name, greatest(setting::bigint, 262144) || 'kB', false)
      FROM pg_settings WHERE name = 'maintenance_work_mem'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to do. `ref` says to what; `checks` tells a validation from making the foreign key."""

    ref: Ref
    act: Act
    method: str = ""
    checks: bool = False

    @property
    def instant(self) -> bool:
        return self.ref.kind in ("policy", "row_security") or (self.ref.kind == "foreign_key" and not self.checks)

    def task(self, cost: float = 0) -> ScheduledTask:
        return ScheduledTask(name=self.ref.name, act=partial(execute_change, self), cost=cost)


def constrain(
    connect: Callable[[], Connection],
    metadata: MetaData,
    *,
    rls: bool,
    workers: int,
    emit: Emit,
    beside: Sequence[ScheduledTask] = (),
) -> None:
    """`beside` are tasks to do meanwhile, that wait for nothing here.

    Errors: `DifferenceError` where the rows break a foreign key or fit no index; `TargetError`; `StoppedError`."""
    with connect() as connection:
        changes = list(find_changes(connection, metadata, rls))
        total = len(changes) + len(beside)
        emit(StepStarted(step="post-data", total=total, unit="statements"))
        quick = [change for change in changes if change.instant]
        for done, change in enumerate(quick, start=1):
            execute_change(change, connection)
            emit(StepAdvanced(step="post-data", done=done))
        graph = arrange([change for change in changes if not change.instant], table_sizes(connection))
        graph = {**graph, **{task: set() for task in beside}}
    if graph:
        with Scheduler(lambda: for_building(connect()), min(workers, len(graph))) as crew:
            for done, _ in enumerate(crew.run_all(graph), start=len(quick) + 1):
                emit(StepAdvanced(step="post-data", done=done))
    emit(StepFinished(step="post-data", note=f"{total} statements"))


class EarlyIndexBuilder:
    """Builds what takes longest of a table's indexes as soon as all its rows are there, beside what goes on with these.

    Only what the rest of the run does not touch: an index of full text. Leaving the block early cancels what is built.
    """

    def __init__(self, connect: Callable[[], Connection], metadata: MetaData, emit: Emit) -> None:
        self._connect, self._metadata, self._emit = connect, metadata, emit
        self._exits = ExitStack()
        self._crew: Scheduler | None = None
        self._begun: set[Ref] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exits.__exit__(kind, error, at)

    def begin(self, connection: Connection, table: str) -> None:
        """Begins with a table that has all its rows; does nothing where that would take no time."""
        if table_sizes(connection).get(table, 0) < WORTH_IT:
            return
        for change in self._find_indexes(connection, {table}):
            if change.method in COSTS:
                self._emit(StepStarted(step=f"build {change.ref.name}"))
                if self._crew is None:
                    self._crew = self._exits.enter_context(Scheduler(lambda: for_building(self._connect()), 1))
                self._crew.submit(change.task())
                self._begun.add(change.ref)

    def accompany(self, connection: Connection, workers: int, beside: Sequence[ScheduledTask]) -> None:
        """Meanwhile the other indexes of the same tables, whose rows are final now, and the tasks `beside`.

        Indexes of one table do not keep each other out; a check of its foreign keys would have to wait. Where nothing
        is being built, all that is left to `constrain`."""
        if not self._begun:
            return
        found = self._find_indexes(connection, {ref.table for ref in self._begun})
        others = [change.task() for change in found if change.ref not in self._begun]
        graph: Graph = {task: set() for task in [*beside, *others]}
        step = "build other indexes"
        self._emit(StepStarted(step=step, total=len(graph), unit="indexes"))
        with Scheduler(lambda: for_building(self._connect()), min(workers, len(graph))) as crew:
            for done, _ in enumerate(crew.run_all(graph), start=1):
                self._emit(StepAdvanced(step=step, done=done))
        self._emit(StepFinished(step=step, note=f"{len(graph)} indexes"))

    def _find_indexes(self, connection: Connection, tables: set[str]) -> Iterator[Change]:
        for change in find_changes(connection, self._metadata, rls=False):
            if change.ref.table in tables and change.ref.kind == "index":
                yield change

    def finish(self) -> None:
        """Waits until all is built. Errors: as `constrain`."""
        for task in self._crew.as_completed() if self._crew is not None else ():
            self._emit(StepFinished(step=f"build {task.name}"))
        self._begun.clear()


def find_changes(connection: Connection, metadata: MetaData, rls: bool) -> Iterator[Change]:
    """What separates the target from what it should be."""
    actual, records = catalog.read(connection), schema_changes.read(connection)
    aside = [record for record in records if record.action == "deferred"]
    for record in aside:
        yield from changes_back(actual, record)
    known = {(record.table_name, record.name) for record in aside}
    for statement in ddl.statements(metadata, rls):
        if not (statement.before_load or actual.has(statement) or (statement.table, statement.name) in known):
            yield from changes_new(statement)
    for record in records:
        if record.action == "created" and record.kind == "foreign_key" and unchecked(actual, record):
            yield check(record.ref)


def changes_back(actual: Catalog, record: Record) -> Iterator[Change]:
    """For what was put aside. If somebody else has made it again meanwhile, only its record has to go."""
    found = actual.constraints.get((record.table_name, record.name)) or actual.indexes.get(record.name)
    if found is None:
        yield Change(ref=record.ref, act=partial(schema_changes.restore, record=record), method=method_of(record))
    if record.checked and (found is None or unchecked(actual, record)):
        yield check(record.ref)
    elif found is not None:
        yield Change(ref=record.ref, act=partial(schema_changes.delete, ref=record.ref))


def changes_new(statement: Statement) -> Iterator[Change]:
    checked = statement.kind == "foreign_key" and not statement.sql.endswith("NOT VALID")
    act = partial(schema_changes.create, statement=statement, suffix=" NOT VALID" if checked else "")
    yield Change(ref=statement.ref, act=act, method=statement.method)
    if checked:
        yield check(statement.ref)


def check(ref: Ref) -> Change:
    return Change(ref=ref, act=partial(schema_changes.validate, ref=ref), checks=True)


def unchecked(actual: Catalog, record: Record) -> bool:
    """Whether a run stopped between making a foreign key and checking it."""
    found = actual.constraints.get((record.table_name, record.name))
    return found is not None and not found.validated and not record.definition.endswith(" NOT VALID")


def method_of(record: Record) -> str:
    found = re.search(r" USING (\w+) ", record.definition)
    return found.group(1) if found else ""


def table_sizes(connection: Connection) -> dict[str, int]:
    query = "SELECT relname, pg_table_size(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    return dict(connection.execute(query + " AND relkind = 'r'").fetchall())


def arrange(changes: list[Change], sizes: dict[str, int]) -> Graph:
    """Which waits for which, by the locks they take.

    Checking a foreign key shares its table with no other check and no index build, so the checks of a table go one
    after the other, and its indexes, which share, after them: a row that refers to nothing is known of before the hour
    that a full-text index may take. A vector index goes last of all, alone: it is built by all cores.
    """
    graph: dict[ScheduledTask, set[ScheduledTask]] = {}
    last_checks: dict[str, ScheduledTask] = {}
    for change in sorted(changes, key=lambda change: (change.ref.kind == "vector_index", not change.checks)):
        table = change.ref.table
        task = change.task(sizes.get(table, 0) * COSTS.get(change.method, 1.0))
        earlier = {last_checks[table]} if table in last_checks else set()
        graph[task] = set(graph) if change.ref.kind == "vector_index" else earlier
        if change.checks:
            last_checks[table] = task
    return graph


def execute_change(change: Change, connection: Connection) -> None:
    """One transaction: the change and its record."""
    with schema_changes.translate_errors(), explained_rows(change.ref), connection.transaction():
        schema_changes.limit_lock_wait(connection)
        with catalog.schema_first(connection, "public"):
            change.act(connection)


def renew_vector_indexes(connection: Connection, namespace: Namespace, embedded: VectorColumn, emit: Emit) -> None:
    """Trains vector indexes anew on vectors that came after them; meanwhile the table can be read and written."""
    vector_indexes.drop_leftovers(connection, namespace, embedded)
    found = vector_indexes.find_indexes(connection, namespace, embedded)
    emit(StepStarted(step="vector index", total=len(found), unit="indexes"))
    for index in found:
        statement = sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier(namespace.rows, index.name))
        for_building(connection).execute(statement)
    vector_indexes.mark_stale(connection, namespace, stale=False)
    emit(StepFinished(step="vector index", note=f"{len(found)} built anew"))


@contextmanager
def explained_rows(ref: Ref) -> Iterator[None]:
    """Rows that do not fit what the target must have."""
    try:
        yield
    except psycopg.errors.ForeignKeyViolation as error:
        raise DifferenceError(
            f"foreign key {ref.name} of {ref.table} does not hold: {error.diag.message_detail}",
            hint="Bring back what the row refers to, or delete the row; then run the same command again.",
        ) from error
    except psycopg.errors.ProgramLimitExceeded as error:
        raise DifferenceError(
            f"index {ref.name} of {ref.table} cannot hold every row: {error.diag.message_primary}",
            hint="A value is too long for PostgreSQL to index. Shorten it, then run the same command again.",
        ) from error


def for_building(connection: Connection) -> Connection:
    """Sets up a session for long statements."""
    connection.execute(MEMORY)
    connection.execute("SELECT set_config('application_name', %s, false)", (WORKER,))
    # Otherwise, if we are killed, the server builds on for nobody, and its lock keeps the next run out.
    with suppress(psycopg.DataError):  # a server on a system that cannot tell
        connection.execute("SET client_connection_check_interval = '5s'")
    return connection
