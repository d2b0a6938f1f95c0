"""Source → rows, in any place: what `run` does in public and what `plan` and `verify` rehearse in scratch schemas.

Knows the order of loading and reconciling; nothing of schemas, indexes or reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from migrator.config.models import Config
from migrator.errors import UsageError
from migrator.events import Emit
from migrator.execution.dask import DaskPool
from migrator.execution.pool import Pool, PooledWorkers, ProcessPool, SerialWorkers, Workers
from migrator.execution.tasks import Job, TaskRunner, fingerprints_of
from migrator.mapping.collection import Collection
from migrator.mapping.loader import MigrationDefinition
from migrator.mapping.project import ProjectPackages
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.document_writer import DocumentWriter
from migrator.reconciliation.merges import MergeApplier
from migrator.rows.lookup import RowLookup
from migrator.rows.store import RowStore
from migrator.sources.base import Batch, Source
from migrator.stages import load, reconcile
from migrator.state import journal, partitions
from migrator.state.records import Namespace
from migrator.state.tenant import Options, ensure_tenant

Connection = psycopg.Connection[Any]
LARGE = 32 << 20


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One migration's data path. `dsn` is how workers reach the database of `connection`; they see no `observe`."""

    source: Source
    connection: Connection
    dsn: str
    namespace: Namespace
    definition: MigrationDefinition
    config: Config
    emit: Emit
    observe: Callable[[Batch], None] | None = None
    settled: Callable[[str], None] = lambda table: None

    @property
    def mappings(self) -> Mapping[str, Collection]:
        return self.definition.mappings

    @property
    def rows(self) -> RowStore:
        return RowStore(self.connection, self.namespace, self.mappings)

    @classmethod
    def from_definition(
        cls,
        config: Config,
        definition: MigrationDefinition,
        source: Source,
        connection: Connection,
        dsn: str,
        namespace: Namespace,
        emit: Emit,
        observe: Callable[[Batch], None] | None = None,
        settled: Callable[[str], None] = lambda table: None,
    ) -> Pipeline:
        """The path of a concrete migration into a place. `observe` sees every batch before it is loaded, `settled` each
        table when it has all its rows."""
        return cls(
            source=source,
            connection=connection,
            dsn=dsn,
            namespace=namespace,
            definition=definition,
            config=config,
            emit=emit,
            observe=observe,
            settled=settled,
        )

    def run(self, run: int, only: frozenset[str] = frozenset()) -> None:
        """Loads and reconciles everything that is left; with `only`, these collections."""
        journal.record_metadata(self.connection, self.namespace, self.source.collections())
        ensure_tenant(self.connection, self.namespace, self.config.tenant, run)
        attempt = journal.begin_attempt(self.connection, self.namespace, run)
        batch_rows = journal.pin_setting(
            self.connection, self.namespace, run, "batch_rows", self.config.engine.batch_rows
        )
        with closing(self._open_pool()) as pool:
            if self.observe is None and needs_workers(self.config, self.definition, self.source):
                pool.prestart()
            for number, level in enumerate(self.levels(only)):
                job = self._job(number, level, run, attempt, batch_rows)
                self._bring_level(job, pool)
        self.merge(run)

    def merge(self, run: int) -> None:
        """Merges what is there to be merged: has been read to its end, as the rows it goes into, which are settled."""
        names = {each.name for each in self.source.collections()}
        complete = partitions.complete(partitions.read_progress(self.connection, self.namespace))
        steps = journal.finished_steps(self.connection, self.namespace)
        settled = {name for name in self.mappings if name not in names or f"reconcile {name}" in steps}
        for merging in self.mergings(run):
            if merging.merge.name in complete and merging.merge.into in settled:
                merging.apply(self.emit)

    def mergings(self, run: int) -> list[MergeApplier]:
        """The merges that are configured."""
        return [
            MergeApplier(rows=self.rows, merge=merge, config=self.config, run=run)
            for merge in self.definition.merges.values()
            if getattr(self.config, merge.section) is not None
        ]  # fmt: skip

    def levels(self, only: frozenset[str] = frozenset()) -> list[list[str]]:
        """Collections of the source in the order of loading; those without a mapping go with the first level."""
        names = [each.name for each in self.source.collections()]
        self._check_only(only, names)
        unmapped = [name for name in names if name not in self.mappings]
        if self.config.policies.unmapped_collections == "ignore":
            unmapped = [name for name in unmapped if name in self.definition.merges]
        groups = [[name for name in group if name in names] for group in load.levels(self.mappings)]
        groups[0] = sorted(groups[0] + unmapped)
        return [chosen for group in groups if (chosen := [name for name in group if not only or name in only])]

    def _check_only(self, only: frozenset[str], names: list[str]) -> None:
        unknown = only - set(names)
        if unknown:
            raise UsageError(f"--only: the source has no collection {', '.join(sorted(unknown))}")
        ready = partitions.complete(partitions.read_progress(self.connection, self.namespace)) | only
        needed = {need for name in only & self.mappings.keys() for need in self.mappings[name].needs}
        missing = (needed & set(names)) - ready
        if missing:
            raise UsageError(
                f"--only: these collections refer to {', '.join(sorted(missing))}, which are not loaded yet",
                hint=f"Add them: --only {','.join(sorted(only | missing))}",
            )

    def _job(self, number: int, level: list[str], run: int, attempt: int, batch_rows: int) -> Job:
        mapped = [name for name in level if name in self.mappings]
        return Job(
            number=number,
            config=self.config,
            packages=self.definition.packages or ProjectPackages("", ""),
            dsn=self.dsn,
            namespace=self.namespace,
            run=run,
            attempt=attempt,
            batch_rows=batch_rows,
            collections=tuple(level),
            adopter=self._adopter_id(mapped),
            fingerprints=fingerprints_of(self.source, self.definition) if self._far else None,
        )

    @property
    def _far(self) -> bool:
        """Whether the work goes to a cluster. Rehearsals stay here: they are in databases that only we reach."""
        return self.config.engine.executor != "local" and self.namespace == Namespace() and self.observe is None

    def _open_pool(self) -> Pool:
        engine = self.config.engine
        if self._far:
            return DaskPool(engine.executor, engine.workers, self.emit)
        return ProcessPool(engine.workers, modules_of(self.definition))

    def _bring_level(self, job: Job, pool: Pool) -> None:
        level = list(job.collections)
        runner = TaskRunner(job, self.definition, lambda: self.source, self.connection)
        load.load(
            self.connection,
            self.namespace,
            self.source,
            level,
            self._workers(job, runner, pool),
            batch_rows=job.batch_rows,
            part_bytes=self.config.engine.part_bytes,
            emit=self.emit,
        )
        for claims in self.resolver_for(level):
            reconcile.reconcile(
                self.connection,
                self.namespace,
                self.mappings,
                claims,
                tenant=self.config.tenant.id,
                run=job.run,
                emit=self.emit,
                settled=self.settled,
            )

    def _workers(self, job: Job, runner: TaskRunner, pool: Pool) -> Workers:
        if pool.is_single or self.observe is not None or self.definition.packages is None:
            return SerialWorkers(runner, self.observe)
        return PooledWorkers(runner, job, pool)

    def _open_level(self, level: list[str]) -> tuple[Options, RowLookup]:
        """Settings, and a resolver that knows nothing yet of what the levels before have brought."""
        tenant = self.config.tenant.id
        mapped = [name for name in level if name in self.mappings]
        options = Options(self.config, tenant, self._adopter_id(mapped))
        return options, RowLookup(self.rows, tenant)

    def _claims(self, name: str, options: Options, resolver: RowLookup) -> ConflictResolver:
        merge = frozenset({"duplicate_email"} if self.config.policies.duplicate_email == "merge" else ())
        return ConflictResolver(DocumentWriter(self.rows, self.mappings[name], options, resolver), merge)

    def resolver_for(self, level: list[str]) -> list[ConflictResolver]:
        """What settles the rejects of a level's mapped collections."""
        options, resolver = self._open_level(level)
        return [self._claims(name, options, resolver) for name in level if name in self.mappings]

    def reconcile_again(self, run: int, claims: ConflictResolver) -> None:
        """Reconciles a collection that got more rows."""
        reconcile.reconcile_again(
            self.connection,
            self.namespace,
            self.mappings,
            claims.collection,
            tenant=self.config.tenant.id,
            run=run,
        )

    def _adopter_id(self, mapped: list[str]) -> bytes | None:
        """The id of the user who takes over what has no owner; asked once the users are there."""
        email = self.config.policies.orphan_owner
        adopter = self.definition.adopter
        if email == "reject" or adopter is None or adopter[0] in mapped or not mapped:
            return None
        collection, column = adopter
        query = sql.SQL("SELECT id FROM {} WHERE {} = %s AND tenant_id = %s").format(
            self.namespace.table(self.mappings[collection].table.name), sql.Identifier(column)
        )
        found = self.connection.execute(query, (email, self.config.tenant.id)).fetchone()
        if found is None:
            raise UsageError(
                f"policies.orphan_owner: no user with the e-mail {email} has been loaded",
                hint='Name a user of the source, or set orphan_owner = "reject".',
            )
        return bytes(found[0].bytes)


def modules_of(definition: MigrationDefinition) -> tuple[str, ...]:
    """The modules that worker processes import."""
    return () if definition.packages is None else definition.packages.modules


def import_ahead(config: Config, definition: MigrationDefinition, source: Source) -> None:
    """Worker processes of this machine import what they need, half a second, beside whatever is to be done before
    `Pipeline.bring`; where that will start any."""
    if config.engine.executor == "local" and needs_workers(config, definition, source):
        ProcessPool(config.engine.workers, modules_of(definition)).preload()


def needs_workers(config: Config, definition: MigrationDefinition, source: Source) -> bool:
    """Whether worker processes are certainly needed: of this machine, or of a cluster."""
    sizes = [each.bytes for each in source.collections() if source.reads_parts(each.name)]
    large = None in sizes or sum(each or 0 for each in sizes) > LARGE
    return large and config.engine.workers != 1 and definition.packages is not None
