"""The data path from source to rows: loads and reconciles all collections, in any namespace.

`run` uses it for the target, `plan` and `verify` for scratch schemas. Not here: schemas, indexes, reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from migrator.errors import UsageError
from migrator.events import Notice
from migrator.execution.dask import DaskPool
from migrator.execution.pool import ObservedWorkers, Pool, PooledWorkers, SerialWorkers, Workers
from migrator.execution.tasks import Job, TaskResult, TaskRunner, fingerprints_of
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.mapping.project import ProjectPackages
from migrator.mapping.shared_tables import find_shared_tables
from migrator.postgres.late_keys import make_now
from migrator.postgres.statements import Ref
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenancy_of
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.document_writer import DocumentWriter
from migrator.reconciliation.merges import MergeApplier
from migrator.reconciliation.restart import has_foreign_edits, undo_load
from migrator.rows.ledger_indexes import create_target_index
from migrator.rows.lookup import RowLookup
from migrator.rows.refusals import UpdatesRefusedError
from migrator.rows.store import RowStore
from migrator.stages.context import StageContext
from migrator.stages.document_keys import make_document_keys
from migrator.stages.load import LoadLimits, load, order_by_dependency
from migrator.stages.reconcile import is_joined_early, joins_records, reconcile, reconcile_again
from migrator.state import journal, partitions
from migrator.state.partitions import PartitionSize
from migrator.state.records import Namespace, has_records
from migrator.state.statistics import Analysis
from migrator.state.tenant import Options, ensure_tenant, own_rows
from migrator.targets.server import connect_worker
from migrator.translation.compiler import Compiled, compile_collection
from migrator.workflows.local_workers import needs_workers, open_local_pool
from migrator.workflows.migration import MigrationContext
from migrator.workflows.profile import Profiler

Connection = psycopg.Connection[Any]
MOST_REPETITIONS = 10  # of a load; each one rejects all documents that the same step has found


class OwnerNotLoadedError(UsageError):
    """The row of the adopter was not loaded."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The data path of one migration into the namespace of `context`.

    `dsn`: how workers connect to the database of `connection`. `profiler` receives the fields of all documents.
    `on_table_loaded` receives the name of each table when all its rows exist. Without `analyzes_all`, the caller
    computes the statistics of the tables that nothing joins before the end (`is_joined_early`). `late_keys`: the keys
    that the target gets after the load, or before rows are found by them. `pool`: the worker processes, which the
    caller closes; None: own ones. The load restores the documents of the collections `restores` from the rows that it
    sends; `on_result` receives the results of its tasks.
    """

    context: MigrationContext
    connection: Connection
    dsn: str
    profiler: Profiler | None = None
    on_table_loaded: Callable[[str], None] = lambda table: None
    analyzes_all: bool = True
    late_keys: frozenset[Ref] = frozenset()
    pool: Pool | None = None
    restores: frozenset[str] = frozenset()
    on_result: Callable[[TaskResult], None] | None = None
    _compiled: dict[tuple[str, bytes | None], Compiled] = field(default_factory=dict, repr=False, compare=False)

    @property
    def namespace(self) -> Namespace:
        return self.context.namespace

    @property
    def mappings(self) -> Mapping[str, Collection]:
        return self.context.definition.mappings

    @property
    def rows(self) -> RowStore:
        return RowStore(self.connection, self.namespace, self.mappings)

    def run(self, run: int, only: frozenset[str] = frozenset()) -> None:
        """Load and reconcile all remaining collections; with `only`, these collections.

        If the target refuses a later change of rows, the load is repeated without their documents: also the load of
        collections that an earlier call has loaded, because what refers to the documents may be among them.
        """
        for _ in range(MOST_REPETITIONS):
            try:
                return self._run(run, only)
            except UpdatesRefusedError as error:
                if has_foreign_edits(self.rows):
                    raise error.cause from error
                self.context.emit(Notice(text=describe_refused(error), level="warning"))
                if only:
                    only |= {each.part.collection for each in partitions.read_progress(self.connection, self.namespace)}
                order = [name for level in self.levels() for name in level if name in self.mappings]
                undo_load(self.rows, [self.mappings[name] for name in order], error.refused)
        return self._run(run, only)

    def _run(self, run: int, only: frozenset[str]) -> None:
        config, source = self.context.config, self.context.source
        journal.record_metadata(self.connection, self.namespace, source.collections())
        tenancy = tenancy_of(self.context.definition.metadata)
        ensure_tenant(self.connection, self.namespace, tenancy, config.tenant, run)
        attempt = journal.begin_attempt(self.connection, self.namespace, run)
        batch_rows = journal.pin_setting(self.connection, self.namespace, run, "batch_rows", config.engine.batch_rows)
        if find_shared_tables(self.mappings.values()):
            create_target_index(self.connection, self.namespace)  # tells whose row a reference has found
        with ExitStack() as opened:
            pool = self.pool or opened.enter_context(closing(self._open_pool()))
            levels = self.levels(only)
            if needs_workers(self.context):
                pool.prestart()
                self._prefetch_partitions([name for level in levels[1:] for name in level], pool)
            for number, level in enumerate(levels):
                mapped = [name for name in level if name in self.mappings]
                job = Job(
                    number=number,
                    config=config,
                    packages=self.context.definition.packages or ProjectPackages("", ""),
                    dsn=self.dsn,
                    namespace=self.namespace,
                    run=run,
                    attempt=attempt,
                    batch_rows=batch_rows,
                    collections=tuple(level),
                    adopter=self._adopter_id(mapped),
                    fingerprints=fingerprints_of(source, self.context.definition) if self._uses_cluster else None,
                    counts_fields=self.profiler is not None,
                    restores=self.restores,
                )
                self._run_level(job, pool)
        self.merge(run)

    def _prefetch_partitions(self, names: list[str], pool: Pool) -> None:
        """Find the partitions of later levels while the first ones are loaded. Reading a large dump takes a while."""
        if not pool.is_single:
            size = PartitionSize(workers=pool.count, bytes=self.context.config.engine.part_bytes)
            partitions.prefetch_partitions(self.connection, self.namespace, self.context.source, names, size)

    def merge(self, run: int) -> None:
        """Apply the merges whose documents and whose target rows are complete."""
        names = {each.name for each in self.context.source.collections()}
        complete = partitions.complete(partitions.read_progress(self.connection, self.namespace))
        steps = journal.finished_steps(self.connection, self.namespace)
        reconciled = {name for name in self.mappings if name not in names or f"reconcile {name}" in steps}
        for applier in self.merge_appliers(run):
            if applier.merge.name in complete and applier.merge.into in reconciled:
                applier.apply(self.context.emit)

    def merge_appliers(self, run: int) -> list[MergeApplier]:
        """Return the appliers of the configured merges."""
        config = self.context.config
        return [
            MergeApplier(rows=self.rows, merge=merge, config=config, run=run)
            for merge in self.context.definition.merges.values()
            if getattr(config, merge.section) is not None
        ]

    def levels(self, only: frozenset[str] = frozenset()) -> list[list[str]]:
        """Return the collections of the source in the order of the load; unmapped ones belong to the first level.

        Raises: `UsageError` for a name in `only` that the source does not have, or that refers to collections that are
        not loaded.
        """
        names = [each.name for each in self.context.source.collections()]
        self.check_only(only)
        unmapped = [name for name in names if name not in self.mappings]
        if self.context.config.policies.unmapped_collections == "ignore":
            unmapped = [name for name in unmapped if name in self.context.definition.merges]
        groups = [[name for name in group if name in names] for group in order_by_dependency(self.mappings)]
        groups[0] = sorted(groups[0] + unmapped)
        return [chosen for group in groups if (chosen := [name for name in group if not only or name in only])]

    def check_only(self, only: frozenset[str]) -> None:
        """Check the names of collections to load. The target may contain no records yet.

        Raises: `UsageError` for a name that the source does not have, or that refers to collections that are not
        loaded.
        """
        if not only:
            return
        names = {each.name for each in self.context.source.collections()}
        unknown = only - names
        if unknown:
            shares = {each.name for each in self.mappings.values() if each.source_name in unknown}
            raise UsageError(
                f"--only: the source has no collection {', '.join(sorted(unknown))}",
                hint=f"Several mappings share it. Use their names: {', '.join(sorted(shares))}" if shares else "",
            )
        loaded = has_records(self.connection, self.namespace)
        read = partitions.read_progress(self.connection, self.namespace) if loaded else ()
        ready = partitions.complete(read) | only
        needed = {need for name in only & self.mappings.keys() for need in self.mappings[name].needs}
        missing = (needed & names) - ready
        if missing:
            raise UsageError(
                f"--only: these collections refer to {', '.join(sorted(missing))}, which are not loaded",
                hint=f"Add them: --only {','.join(sorted(only | missing))}",
            )

    @property
    def _uses_cluster(self) -> bool:
        """Whether a cluster loads the batches. Not in a dry run: its database is reachable from this machine only."""
        is_real_run = self.namespace == Namespace() and self.profiler is None
        return self.context.config.engine.executor != "local" and is_real_run

    def _open_pool(self) -> Pool:
        engine = self.context.config.engine
        if self._uses_cluster:
            return DaskPool(engine.executor, engine.workers, self.context.emit)
        return open_local_pool(self.context)

    def _run_level(self, job: Job, pool: Pool) -> None:
        source, level = self.context.source, list(job.collections)
        runner = TaskRunner(job, self.context.definition, lambda: source, self.connection)
        limits = LoadLimits(batch_rows=job.batch_rows, part_bytes=self.context.config.engine.part_bytes)
        stage = self._stage(job.run)
        workers = self._workers(job, runner, pool)
        load(stage, source, level, self._observed(workers, level), limits)
        mapped = [self.mappings[name] for name in level if name in self.mappings]
        undone = make_document_keys(stage, self.context.definition.metadata, mapped, self.late_keys)
        if undone:
            for name, batches in undone.items():
                self.context.emit(Notice(text=describe_undone(name, batches)))
            load(stage, source, level, workers, limits)
        for resolver in self.resolvers_for(level):
            make_keys = partial(self._make_late_keys, resolver.collection)
            analysis = self._analysis(resolver.collection)
            reconcile(stage, resolver, self.on_table_loaded, analysis=analysis, before_replacing=make_keys)

    def _analysis(self, collection: Collection) -> Analysis:
        """Return what to analyze when a collection is loaded, in a second session if that takes a while."""
        return Analysis(
            table=self.analyzes_all or is_joined_early(collection, self.mappings),
            records=self.analyzes_all or joins_records(collection, self.mappings),
            connect=partial(connect_worker, self.dsn) if needs_workers(self.context) else None,
        )

    def _observed(self, workers: Workers, level: list[str]) -> Workers:
        """Return workers whose results the profiler and `on_result` receive."""
        if self.profiler is not None:
            self.profiler.begin(level)
            workers = ObservedWorkers(workers, self.profiler.add)
        return workers if self.on_result is None else ObservedWorkers(workers, self.on_result)

    def _make_late_keys(self, collection: Collection) -> None:
        """Make the late keys of the rows that belong to rows of a collection."""
        keys = frozenset(ref for ref in self.late_keys if ref.table in collection.table_names)
        make_now(self.connection, self.context.definition.metadata, keys)

    def _stage(self, run: int) -> StageContext:
        return StageContext(rows=self.rows, tenant=self.context.config.tenant.id, run=run, emit=self.context.emit)

    def _workers(self, job: Job, runner: TaskRunner, pool: Pool) -> Workers:
        if pool.is_single or self.context.definition.packages is None:
            return SerialWorkers(runner)
        return PooledWorkers(runner, job, pool)

    def resolvers_for(self, level: list[str]) -> list[ConflictResolver]:
        """Return the conflict resolvers of the mapped collections of a level.

        They share one row lookup, which is empty at the beginning: the levels before have added rows.
        """
        config = self.context.config
        mapped = [name for name in level if name in self.mappings]
        options = Options(config, config.tenant.id, self._adopter_id(mapped))
        lookup = RowLookup(self.rows, config.tenant.id)
        return [
            ConflictResolver(
                DocumentWriter(self.rows, self.mappings[name], options, lookup, partial(self._compile, name, options)),
                self.mappings[name].merged(config),
            )
            for name in mapped
        ]

    def _compile(self, name: str, options: Options) -> Compiled:
        """Return the compiled function of a collection. Following needs it for each batch, so it is kept."""
        key = name, options.adopter
        if key not in self._compiled:
            self._compiled[key] = compile_collection(self.mappings[name], options)
        return self._compiled[key]

    def reconcile_again(self, run: int, resolver: ConflictResolver) -> None:
        """Reconcile a collection that got more rows. Raises: `UpdatesRefusedError`."""
        reconcile_again(self._stage(run), resolver.collection)

    def _adopter_id(self, mapped: list[str]) -> bytes | None:
        """Return the ID of the adopter's row; None until its collection is loaded.

        Raises: `UsageError` if this row was not loaded.
        """
        adopter = self.context.definition.adopter
        if adopter is None or adopter.collection in mapped or not mapped:
            return None
        return self.find_adopter()

    def find_adopter(self) -> bytes | None:
        """Return the ID of the adopter's row; None without an adopter.

        Raises: `UsageError` if this row was not loaded.
        """
        config, adopter = self.context.config, self.context.definition.adopter
        value = None if adopter is None else adopter.value(config)
        if adopter is None or value is None:
            return None
        mapping = self.mappings[adopter.collection]
        query = sql.SQL("SELECT {} FROM {} t WHERE {} = %s AND {}").format(
            sql.Identifier(mapping.key.column),
            self.namespace.table(name_of(mapping.table)),
            sql.Identifier(adopter.column),
            own_rows(mapping.table, config.tenant.id),
        )
        found = self.connection.execute(query, (value,)).fetchone()
        if found is None:
            text, remedy = adopter.describe_missing(value)
            raise OwnerNotLoadedError(f"{text} was loaded", hint=remedy)
        return bytes(found[0].bytes)


def describe_undone(name: str, batches: int) -> str:
    """Return one line about batches that are loaded again."""
    return f"{name}: documents have IDs of others. {format_count(batches, 'batches')} with them are loaded again."


def describe_refused(error: UpdatesRefusedError) -> str:
    """Return one line about documents that are rejected because their rows cannot be changed."""
    return f"The target refuses {list_refused(error)}. They are rejected, and the load is repeated."


def list_refused(error: UpdatesRefusedError) -> str:
    """Return the number of documents whose rows cannot be changed, by collection, with the constraints."""
    parts = [
        f"{format_count(len(documents), 'documents')} of {name} ({', '.join(sorted(set(documents.values())))})"
        for name, documents in error.refused.items()
        if documents
    ]
    return f"later changes of {'; '.join(parts)}"
