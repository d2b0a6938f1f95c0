"""Compares the tables and records of the target with those of a scratch run, several at a time.

The checksums of the target are computed while the scratch run reconciles its largest table, because that step uses one
session only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.shared_tables import is_shared
from migrator.postgres.scheduler import ScheduledTask, Scheduler
from migrator.postgres.table_names import name_of
from migrator.state.records import Connection, Namespace
from migrator.verification import element_diff, record_diff, row_diff, vector_diff
from migrator.verification.model import Check, Scope
from migrator.verification.prescan import Prescan
from migrator.verification.record_diff import RELATIONS, RecordRelation

STEP = "compare"


class ScratchComparison:
    """Compares the target with the scratch run in the namespace `scratch`.

    `others` are called while tables and records are compared, in sessions of their own. Leaving the `with` block early
    cancels the queries that are still running.
    """

    def __init__(
        self,
        scope: Scope,
        scan: Prescan,
        scratch: Namespace,
        open_scheduler: Callable[[int], Scheduler],
        others: Sequence[Callable[[Scope], None]] = (),
    ) -> None:
        self._scope, self._scan, self._scratch, self._open_scheduler = scope, scan, scratch, open_scheduler
        self._others = others
        self._mappings = list(scope.chosen.values())
        self._exits = ExitStack()
        self._scheduler: Scheduler | None = None
        self._row_checksums: dict[str, row_diff.RangeChecksums] = {}
        self._record_checksums: dict[str, record_diff.RecordChecksums] = {}
        self._checks: dict[str, list[Check]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exits.__exit__(kind, error, at)

    def on_table_loaded(self, table: str) -> bool:
        """Start the checksums of the target once the scratch run has loaded all rows of the largest table.

        Return whether they have been started.
        """
        tables = self._scan.tables
        sizes = {name: tables[name].rows for name in (name_of(mapping.table) for mapping in self._mappings)}
        if self._scheduler is None and sizes.get(table, 0) == max(sizes.values(), default=0):
            self._scheduler = self._start_checksums()
        return self._scheduler is not None

    def compare(self, emit: Emit) -> list[Check]:
        """Compare all tables and records, after the scratch run has ended."""
        emit(StepStarted(step=STEP, unit="relations"))
        scheduler = self._scheduler or self._start_checksums()
        for _ in scheduler.as_completed():
            pass
        for act in self._others:
            self._submit(scheduler, act)
        for mapping in self._mappings:
            self._submit(scheduler, partial(self._compare_rows, mapping))
            for rule in mapping.child_rules:
                self._submit(scheduler, partial(self._compare_elements, mapping, rule))
        for relation in RELATIONS:
            self._submit(scheduler, partial(self._compare_records, relation))
        for _ in scheduler.as_completed():
            emit(StepAdvanced(step=STEP, done=len(self._checks)))
        mapped = [f"{mapping.name}: {name}" for mapping in self._mappings for name in mapping.table_names]
        order = [*mapped, *(relation.name for relation in RELATIONS)]
        checks = [check for name in order for check in self._checks[name]]
        emit(StepFinished(step=STEP, note=f"{format_count(len(checks), 'checks')}"))
        return checks

    def _start_checksums(self) -> Scheduler:
        scheduler = self._exits.enter_context(self._open_scheduler(len(RELATIONS) + len(self._mappings)))
        for relation in RELATIONS:
            self._submit(scheduler, partial(self._checksum_records, relation))
        for mapping in self._mappings:
            self._submit(scheduler, partial(self._checksum_rows, mapping))
        return scheduler

    def _submit(self, scheduler: Scheduler, act: Callable[[Scope], None]) -> None:
        def act_with_connection(connection: Connection) -> None:
            act(replace(self._scope, connection=connection))

        scheduler.submit(ScheduledTask(name=STEP, act=act_with_connection))

    def _checksum_rows(self, mapping: Collection, scope: Scope) -> None:
        every = self._scan.has_only_migrated_rows(mapping) and not is_shared(scope.mappings, mapping)
        self._row_checksums[mapping.name] = row_diff.checksum_ranges(scope, mapping, every=every)

    def _checksum_records(self, relation: RecordRelation, scope: Scope) -> None:
        self._record_checksums[relation.name] = record_diff.checksum_records(scope, scope.namespace, relation)

    def _compare_rows(self, mapping: Collection, scope: Scope) -> None:
        here = self._row_checksums[mapping.name]
        checks = row_diff.compare_table(scope, self._scratch, mapping, here)
        self._checks[f"{mapping.name}: {name_of(mapping.table)}"] = [
            *checks,
            *vector_diff.compare_vectors(scope, self._scratch, mapping),
        ]

    def _compare_elements(self, mapping: Collection, rule: Children, scope: Scope) -> None:
        every = self._scan.has_only_migrated_rows(mapping)
        check = element_diff.compare_elements(scope, self._scratch, mapping, rule, every=every)
        self._checks[f"{mapping.name}: {name_of(rule.table)}"] = [check]

    def _compare_records(self, relation: RecordRelation, scope: Scope) -> None:
        here = self._record_checksums[relation.name]
        self._checks[relation.name] = record_diff.compare_relation(scope, self._scratch, relation, here)
