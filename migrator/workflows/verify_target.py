"""The checks of `verify` that need no mapping: document counts, records, the schema, row counts, references,
security."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

from sqlalchemy import Table

from migrator.events import Emit, Event, StepAdvanced, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.postgres import catalog
from migrator.postgres.catalog import Catalog
from migrator.postgres.placement import schemas_in
from migrator.postgres.scheduler import Graph, ScheduledTask, Scheduler
from migrator.postgres.table_names import name_of
from migrator.sources.base import Source
from migrator.state.ledger import balance
from migrator.state.records import Connection
from migrator.verification import accounting, catalog_check, integrity, prescan
from migrator.verification.catalog_check import VisibleRows
from migrator.verification.model import Check, Difference, Differences, Scope, make_check
from migrator.verification.prescan import Prescan, RecordScan, TableScan

STEP = "check the target"
CountSource = Callable[[Emit], Counter[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChecks:
    """The checks, with what they compare. `scope` excludes tables that lack required columns.

    `counted`: documents in the source by collection; `scan`: counts and checksums of the target; `visible`: rows that
    another role sees; `expected` and `actual`: the schema.
    """

    scope: Scope
    counted: Counter[str]
    scan: Prescan
    visible: VisibleRows
    expected: Catalog
    actual: Catalog
    emit: Emit

    @classmethod
    def open(cls, scope: Scope, count: CountSource, emit: Emit) -> TargetChecks:
        """Read the source and the target once, for all checks. `count` counts the documents of the source.

        The server scans the tables meanwhile, and again without those that lack required columns, if there are any.
        """
        with TargetScans(scope) as scans:
            expected = catalog.read_expected(scope.connection, scope.metadata, scope.config.target.rls == "all")
            actual = catalog.read(scope.connection, schemas_in(scope.metadata))
            usable = replace(scope, unusable=catalog_check.unusable_tables(scope.metadata, expected, actual))
            counted = count(emit)
            if not usable.unusable:
                scan, visible = scans.finish(emit)
        if usable.unusable:
            with TargetScans(usable) as scans:
                scan, visible = scans.finish(emit)
        return cls(
            scope=usable,
            counted=counted,
            scan=scan,
            visible=visible,
            expected=expected,
            actual=actual,
            emit=emit,
        )

    def run(self) -> list[Check]:
        """Execute the checks in parallel, each with its own connection, and return them in their fixed order."""
        groups = self._groups()
        found: dict[str, list[Check]] = {}

        def execute(name: str, connection: Connection) -> None:
            found[name] = list(groups[name](replace(self.scope, connection=connection)))

        self.emit(StepStarted(step=STEP, unit="checks"))
        graph: Graph = {ScheduledTask(name=name, act=partial(execute, name)): set() for name in groups}
        with open_scheduler(self.scope, len(graph)) as scheduler:
            for _ in scheduler.run_all(graph):
                self.emit(StepAdvanced(step=STEP, done=sum(map(len, found.values()))))
        self.emit(StepFinished(step=STEP, note=format_count(sum(map(len, found.values())), "checks")))
        return [check for name in groups for check in found[name]]

    def _groups(self) -> dict[str, Callable[[Scope], Iterable[Check]]]:
        outcomes = balance(self.scope.connection, self.scope.namespace, self.scan.records.counts)
        return {
            "accounts": lambda scope: accounting.check_accounting(scope, self.counted, outcomes),
            "journal": lambda scope: accounting.check_journal(scope, self.counted, outcomes),
            "kept": lambda scope: accounting.check_kept_documents(scope, self.scan),
            "catalog": lambda scope: self._check_catalog(scope),
            "rows": lambda scope: accounting.check_row_counts(scope, self.scan),
            "ids": integrity.check_ids,
            "foreign keys": lambda scope: integrity.check_foreign_keys(scope, self.scan),
            "tenants": lambda scope: integrity.check_tenants(scope, self.scan),
            "trees": lambda scope: integrity.check_trees(scope, self.scan),
            "row security": lambda scope: catalog_check.check_row_security(scope, self.scan, self.visible),
        }

    def _check_catalog(self, scope: Scope) -> Iterator[Check]:
        yield from catalog_check.check_catalog(scope, self.expected, self.actual)
        note = "the table lacks required columns; its rows were not compared"
        for name in sorted(scope.unusable):
            found = Differences.of([Difference(row=f"table {name}", note=note)])
            yield make_check("rows", name, found, actual="not comparable")


def names_of(scope: Scope, source: Source) -> list[str]:
    """Return the collections of the source to compare."""
    archives_unmapped = scope.config.policies.unmapped_collections == "archive"
    names = [each.name for each in source.collections() if archives_unmapped or each.name in scope.known]
    return [name for name in names if scope.has_collection(name)]


def open_scheduler(scope: Scope, tasks: int) -> Scheduler:
    """Return a scheduler with at most as many connections as there are tasks."""
    assert scope.workers is not None  # a worker process needs no further connections
    return Scheduler(scope.workers.connect, min(scope.config.engine.workers or 2, tasks))


class TargetScans:
    """The scans of all tables and records of the target. They run while this process does something else.

    Leaving the `with` block early cancels those that are still running.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope, self._exits = scope, ExitStack()
        self._tables: dict[str, TableScan] = {}
        self._records: list[RecordScan] = []
        self._visible: VisibleRows = {}
        self._events: list[Event] = []

    def __enter__(self) -> Self:
        # Referencing tables come first, because they are the largest ones.
        acts: list[Callable[[Connection], None]] = [
            partial(self._scan_table, table) for table in reversed(self._scope.tables)
        ]
        acts += [self._scan_records, self._count_visible]
        self._scheduler = self._exits.enter_context(open_scheduler(self._scope, len(acts)))
        for act in acts:
            self._scheduler.submit(ScheduledTask(name="scan", act=act))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exits.__exit__(kind, error, at)

    def finish(self, emit: Emit) -> tuple[Prescan, VisibleRows]:
        """Wait for the scans. Raises the error of the first one that fails."""
        for _ in self._scheduler.as_completed():
            pass
        for event in self._events:
            emit(event)
        scan = Prescan(records=self._records[0], tables=self._tables, mappings=self._scope.mappings)
        return scan, self._visible

    def _scan_table(self, table: Table, connection: Connection) -> None:
        self._tables[name_of(table)] = prescan.scan_table(replace(self._scope, connection=connection), table)

    def _scan_records(self, connection: Connection) -> None:
        self._records.append(prescan.scan_records(replace(self._scope, connection=connection)))

    def _count_visible(self, connection: Connection) -> None:
        scope = replace(self._scope, connection=connection)
        self._visible.update(catalog_check.count_visible_rows(scope, self._events.append))
