"""Proves the target against the source: counts, references, catalog; rows by mapping again; documents by rebuilding."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from sqlalchemy import Table

from migrator.config.models import Config, fingerprint
from migrator.documents.fingerprint import hash_text
from migrator.errors import UsageError
from migrator.events import Emit, Notice, StepAdvanced, StepFinished, StepStarted
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres import catalog
from migrator.postgres.scheduler import Graph, ScheduledTask, Scheduler
from migrator.sources.base import Source
from migrator.state import journal, own_transactions, scratch
from migrator.state.ledger import Counts, balance
from migrator.state.records import SCRATCH_NAMESPACE, Connection, Namespace, has_records
from migrator.targets.server import connect_worker
from migrator.verification import (
    accounting,
    catalog_check,
    embeddings,
    integrity,
    prescan,
    round_trip_workers,
)
from migrator.verification.catalog_check import VisibleRows
from migrator.verification.model import Check, Difference, Differences, Scope, make_check
from migrator.verification.prescan import Prescan, RecordScan, TableScan
from migrator.verification.relation_diff import ScratchComparison
from migrator.verification.round_trip_workers import RoundTrip, RoundTripJob
from migrator.workflows.pipeline import Pipeline, import_ahead

Level = Literal["counts", "rows", "roundtrip"]
LEVELS: tuple[Level, ...] = ("counts", "rows", "roundtrip")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `migrate verify` prints: see contract.md, JSON shapes."""

    level: Level
    checks: tuple[Check, ...]
    collections: dict[str, Counts]
    seconds: float

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "level": self.level,
            "checks": [check.as_json() for check in self.checks],
            "collections": {name: counts.as_json() for name, counts in self.collections.items()},
            "seconds": round(self.seconds, 3),
        }


def verify(
    config: Config,
    definition: MigrationDefinition,
    source: Source,
    connection: Connection,
    dsn: str,
    level: Level,
    emit: Emit,
    again: int = 0,
    *,
    only: frozenset[str] = frozenset(),
    show: bool = False,
    share: float = 1.0,
) -> VerifyReport:
    """Runs the checks of a level and of those below it. Writes nothing that stays. `dsn` is for worker processes.

    `again`: so many texts are embedded again, even if that costs something. `only` names collections and tables to look
    at; `show` lets values be seen that may be personal; `share` of
    the documents (0 to 1) are rebuilt, of every collection some. What is stopped or killed goes on when called again.
    """
    started = time.monotonic()
    namespace = Namespace()
    if not has_records(connection, namespace):
        raise UsageError("there is no migration in this target to verify", hint="Start with `migrate run`.")
    check_only(only, source, definition)
    scope = _scope(config, definition, source, connection, namespace, only, show)
    pipeline = Pipeline.from_definition(config, definition, source, connection, dsn, SCRATCH_NAMESPACE, emit)
    if level != "counts":
        import_ahead(config, definition, source)
    scope, look, checks = _counts(scope, source, dsn, emit)
    if definition.embedded is not None and definition.embedded.table in scope.tables:
        checks += embeddings.check_embeddings(
            embeddings.EmbeddingScope(
                connection=connection,
                namespace=namespace,
                embedded=definition.embedded,
                config=config,
                re_embed=again,
            )
        )
    if level in ("rows", "roundtrip") and not scope.unusable:
        checks += _rows(scope, look, pipeline, level == "roundtrip", share)
    if not own_transactions.is_traceable(connection, namespace) and not all(check.ok for check in checks):
        emit(Notice(text="This database was restored from a dump: whose doing a difference is cannot be told."))
        checks = [check.without_faults() for check in checks]
    return VerifyReport(
        level=level,
        checks=tuple(checks),
        collections=balance(connection, namespace, look.records.counts),
        seconds=time.monotonic() - started,
    )


def check_only(only: frozenset[str], source: Source, definition: MigrationDefinition) -> None:
    """Raises `UsageError` for a name that is neither a collection's nor a table's."""
    known = {each.name for each in source.collections()} | definition.known | set(definition.metadata.tables)
    if only - known:
        raise UsageError(
            f"--only: there is neither a collection nor a table {', '.join(sorted(only - known))}",
            hint="Name collections of the source or tables of the target.",
        )


def _scope(
    config: Config,
    definition: MigrationDefinition,
    source: Source,
    connection: Connection,
    namespace: Namespace,
    only: frozenset[str],
    show: bool,
) -> Scope:
    latest = journal.latest_run(connection, namespace)
    then = {} if latest is None else latest[2]
    mapper = then.get("mappings") != definition.fingerprint or then.get("configuration") != fingerprint(config)
    return Scope(
        connection=connection,
        namespace=namespace,
        config=config,
        mappings=definition.mappings,
        metadata=definition.metadata,
        known=definition.known,
        only=only,
        show=show,
        source_changed=then.get("source") != source.fingerprint(),
        mapper_changed=mapper,
    )


def names_of(scope: Scope, source: Source) -> list[str]:
    """The collections of the source that are looked at."""
    every = scope.config.policies.unmapped_collections == "archive"
    names = [each.name for each in source.collections() if every or each.name in scope.known]
    return [name for name in names if scope.has_collection(name)]


def _counts(scope: Scope, source: Source, dsn: str, emit: Emit) -> tuple[Scope, Prescan, list[Check]]:
    """The checks that need no mapping, and the scope without the tables that cannot be looked at."""
    connection, metadata = scope.connection, scope.metadata
    wanted = catalog.read_expected(connection, metadata, scope.config.target.rls == "all")
    actual = catalog.read(connection)
    usable = replace(scope, unusable=catalog_check.unusable_tables(metadata, wanted, actual))
    counted, look, seen = _look(usable, source, dsn, emit)
    outcomes = balance(connection, scope.namespace, look.records.counts)
    emit(StepStarted(step="check the target", unit="checks"))
    parts: dict[str, Callable[[Scope], Iterable[Check]]] = {
        "accounts": lambda one: accounting.check_accounting(one, counted, outcomes),
        "journal": lambda one: accounting.check_journal(one, counted, outcomes),
        "kept": lambda one: accounting.check_kept_documents(one, look),
        "catalog": lambda one: [*catalog_check.check_catalog(one, wanted, actual), *_unusable(one)],
        "rows": lambda one: accounting.check_row_counts(one, look),
        "ids": integrity.check_ids,
        "foreign keys": lambda one: integrity.check_foreign_keys(one, look),
        "tenants": lambda one: integrity.check_tenants(one, look),
        "trees": lambda one: integrity.check_trees(one, look),
        "row security": lambda one: catalog_check.check_row_security(one, look, seen),
    }
    found = _at_once(usable, dsn, parts, "check the target", emit)
    return usable, look, [check for name in parts for check in found[name]]


def _look(scope: Scope, source: Source, dsn: str, emit: Emit) -> tuple[Counter[str], Prescan, VisibleRows]:
    """Counts the source here, while the server looks at the target."""
    tables: dict[str, TableScan] = {}
    kept: list[RecordScan] = []
    seen: VisibleRows = {}

    def look_at(table: Table, connection: Connection) -> None:
        tables[table.name] = prescan.scan_table(replace(scope, connection=connection), table)

    def look_at_records(connection: Connection) -> None:
        kept.append(prescan.scan_records(replace(scope, connection=connection)))

    def look_as_stranger(connection: Connection) -> None:
        seen.update(catalog_check.count_visible_rows(replace(scope, connection=connection), emit))

    acts: list[Callable[[Connection], None]] = [look_at_records, look_as_stranger]
    acts[:0] = [partial(look_at, table) for table in reversed(scope.tables)]  # the large ones refer to others
    with _crew(scope, dsn, len(acts)) as crew:
        for act in acts:
            crew.submit(ScheduledTask(name="look", act=act))
        counted = accounting.count_source(source, names_of(scope, source), emit)
        for _ in crew.as_completed():
            pass
    return counted, Prescan(records=kept[0], tables=tables), seen


def _crew(scope: Scope, dsn: str, tasks: int) -> Scheduler:
    return Scheduler(lambda: connect_worker(dsn), min(scope.config.engine.workers or 2, tasks))


def _at_once(
    scope: Scope, dsn: str, parts: Mapping[str, Callable[[Scope], Iterable[Check]]], step: str, emit: Emit
) -> dict[str, list[Check]]:
    """The checks of some parts, several at a time, each with a connection of its own."""
    found: dict[str, list[Check]] = {}

    def act(name: str, connection: Connection) -> None:
        found[name] = list(parts[name](replace(scope, connection=connection)))

    graph: Graph = {ScheduledTask(name=name, act=partial(act, name)): set() for name in parts}
    with _crew(scope, dsn, len(graph)) as crew:
        for _ in crew.run_all(graph):
            emit(StepAdvanced(step=step, done=sum(map(len, found.values()))))
    emit(StepFinished(step=step, note=f"{sum(map(len, found.values()))} checks"))
    return found


def _unusable(scope: Scope) -> Iterator[Check]:
    note = "the table lacks required columns; its rows were not compared"
    for name in sorted(scope.unusable):
        found = Differences.of([Difference(row=f"table {name}", note=note)])
        yield make_check("rows", name, found, actual="not comparable")


def _rows(scope: Scope, look: Prescan, pipeline: Pipeline, roundtrip: bool, share: float) -> list[Check]:
    definition, source, dsn, emit = pipeline.definition, pipeline.source, pipeline.dsn, pipeline.emit
    token = _token(scope, definition, source)
    alone = frozenset(mapping.table.name for mapping in scope.chosen.values() if look.has_only_migrated_rows(mapping))
    with scratch.scratch_namespace(scope.connection, definition.mappings, token, alone) as (again, found):
        if found is not None:
            emit(Notice(text="An earlier verification was stopped: this one goes on where it was."))
        run = found or journal.begin_run(scope.connection, again, source, {"dry_run": token})
        with ScratchComparison(scope, look, again, partial(_crew, scope, dsn)) as comparing:
            replace(pipeline, settled=comparing.on_table_loaded).run(run, _needed(scope, source))
            checks = comparing.compare(emit)
        if roundtrip:
            trip = None if definition.packages is None else RoundTripJob(
                config=scope.config, packages=definition.packages, dsn=dsn, only=scope.only, show=scope.show,
                source_changed=scope.source_changed, share=share,
            )  # fmt: skip
            round_trip = RoundTrip(scope=scope, scratch=again, run=run, source=source, share=share, job=trip)
            checks += round_trip_workers.check_round_trips(round_trip, names_of(scope, source), emit)
        return checks


def _token(scope: Scope, definition: MigrationDefinition, source: Source) -> str:
    """What must be the same for a verification to go on with what an earlier one has read."""
    latest = journal.latest_run(scope.connection, scope.namespace)
    parts = (source.fingerprint(), definition.fingerprint, fingerprint(scope.config), sorted(scope.only), latest)
    return hash_text(repr(parts))


def _needed(scope: Scope, source: Source) -> frozenset[str]:
    """The collections to read again: those that are looked at, and those that they refer to."""
    if not scope.only:
        return frozenset()
    there = {each.name for each in source.collections()}
    needed: set[str] = set()
    left = set(names_of(scope, source))
    while left:
        name = left.pop()
        needed.add(name)
        left |= ((scope.mappings[name].needs if name in scope.mappings else frozenset()) & there) - needed
    return frozenset(needed)
