"""Tables and records of the target against what a rehearsal made of the source, several at once.

What is in the target is summed up while the rehearsal settles its largest table, which is one session's work.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.mapping.collection import Collection
from migrator.postgres.scheduler import ScheduledTask, Scheduler
from migrator.state.records import Connection, Namespace
from migrator.verification import record_diff, row_diff
from migrator.verification.model import Check, Scope
from migrator.verification.prescan import Prescan
from migrator.verification.record_diff import RELATIONS, Relation

STEP = "compare"


class ScratchComparison:
    """Of one rehearsal, in the place `again`. Leaving the block early cancels what is being summed up."""

    def __init__(self, scope: Scope, survey: Prescan, again: Namespace, open_crew: Callable[[int], Scheduler]) -> None:
        self._scope, self._survey, self._again, self._open_crew = scope, survey, again, open_crew
        self._mappings = list(scope.chosen.values())
        self._exits = ExitStack()
        self._crew: Scheduler | None = None
        self._rows: dict[str, row_diff.RangeChecksums] = {}
        self._records: dict[str, record_diff.RecordChecksums] = {}
        self._checks: dict[str, list[Check]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exits.__exit__(kind, error, at)

    def begin(self, table: str) -> None:
        """The rehearsal has all rows of a table: if it is the largest, little is left to do but to settle it."""
        tables = self._survey.tables
        sizes = {name: tables[name].rows for name in (mapping.table.name for mapping in self._mappings)}
        if self._crew is None and sizes.get(table, 0) == max(sizes.values(), default=0):
            self._crew = self._sum_up()

    def finish(self, emit: Emit) -> list[Check]:
        """The rehearsal is done: all checks."""
        emit(StepStarted(step=STEP, unit="relations"))
        crew = self._crew or self._sum_up()
        for _ in crew.as_completed():
            pass
        for mapping in self._mappings:
            self._do(crew, partial(self._compare_rows, mapping))
        for relation in RELATIONS:
            self._do(crew, partial(self._compare_records, relation))
        for _ in crew.as_completed():
            emit(StepAdvanced(step=STEP, done=len(self._checks)))
        order = [*(mapping.name for mapping in self._mappings), *(relation.name for relation in RELATIONS)]
        found = [check for name in order for check in self._checks[name]]
        emit(StepFinished(step=STEP, note=f"{len(found)} checks"))
        return found

    def _sum_up(self) -> Scheduler:
        crew = self._exits.enter_context(self._open_crew(len(RELATIONS) + len(self._mappings)))
        for relation in RELATIONS:
            self._do(crew, partial(self._sum_records, relation))
        for mapping in self._mappings:
            self._do(crew, partial(self._sum_rows, mapping))
        return crew

    def _do(self, crew: Scheduler, act: Callable[[Scope], None]) -> None:
        def act_there(connection: Connection) -> None:
            act(replace(self._scope, connection=connection))

        crew.submit(ScheduledTask(name=STEP, act=act_there))

    def _sum_rows(self, mapping: Collection, scope: Scope) -> None:
        self._rows[mapping.name] = row_diff.checksum_ranges(scope, mapping, every=self._survey.is_alone(mapping))

    def _sum_records(self, relation: Relation, scope: Scope) -> None:
        self._records[relation.name] = record_diff.checksum_records(scope, scope.namespace, relation)

    def _compare_rows(self, mapping: Collection, scope: Scope) -> None:
        here = self._rows[mapping.name]
        self._checks[mapping.name] = row_diff.compare_table(scope, self._again, mapping, here)

    def _compare_records(self, relation: Relation, scope: Scope) -> None:
        here = self._records[relation.name]
        self._checks[relation.name] = record_diff.compare_relation(scope, self._again, relation, here)
