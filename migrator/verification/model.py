"""The values that all checks share: a difference, a check, the scope of a verification. Nothing here runs a query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import MetaData, Table

from migrator.config.models import Config
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.mapping.shared_tables import is_shared
from migrator.postgres.table_names import name_of
from migrator.rows.store import RowStore
from migrator.state.records import Connection, Namespace
from migrator.targets.server import WorkerSessions
from migrator.verification.check_codes import title_of

EXAMPLES = 10  # differences that a check lists
MISSING, NOT_PRODUCED = "missing in the target", "the source does not produce this row"  # notes about whole rows

Fault = Literal["source", "target", "mapper", "configuration", "run", ""]
CAUSES: dict[Fault, str] = {
    "source": "the source changed after the run",
    "target": "the target changed after the run",
    "mapper": "the mapping does not produce what the run wrote",
    "configuration": "the configuration changed after the run",
    "run": "the run is not finished",
    "": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference between the target and what it should hold.

    `row` is the ID of a row or document, or the name of a catalog object. `column` is the column, field or property, or
    '' for the whole row. `expected` and `actual` are None if there is no value; values are already redacted. `note`
    describes the difference. `fault` is the likely cause, '' if unknown.
    """

    row: str
    column: str = ""
    expected: str | None = None
    actual: str | None = None
    note: str = ""
    fault: Fault = ""

    def __str__(self) -> str:
        where = f"{self.row}, {self.column}" if self.column else self.row
        parts = [where, self._describe_values(), self.note]
        text = ": ".join(part for part in parts if part)
        return f"{text} (likely cause: {CAUSES[self.fault]})" if self.fault else text

    def _describe_values(self) -> str:
        if self.expected is not None and self.actual is not None:
            return f"expected {self.expected}, found {self.actual}"
        if self.expected is not None and not self.note:
            return f"missing, expected {self.expected}"
        if self.actual is not None and not self.note:
            return f"unexpected: {self.actual}"
        return ""

    def as_json(self) -> dict[str, Any]:
        return {
            "row": self.row, "column": self.column, "expected": self.expected, "actual": self.actual,
            "note": self.note, "fault": self.fault,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """All differences of one check: their number, and the first of them."""

    total: int
    first: Sequence[Difference]

    @classmethod
    def of(cls, every: Sequence[Difference]) -> Differences:
        """Return the value for a complete list."""
        return cls(total=len(every), first=every[:EXAMPLES])


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check on one table, collection or kind of object.

    `expected` and `actual` are numbers, or descriptions if a number says too little. `differences` is the number of
    differences, `found` holds the first of them, `examples` the same as text.
    """

    check: str
    table: str
    expected: Any
    actual: Any
    differences: int = 0
    examples: Sequence[str] = ()
    found: Sequence[Difference] = ()

    @property
    def ok(self) -> bool:
        return self.differences == 0

    @property
    def title(self) -> str:
        """What users see instead of the code."""
        return title_of(self.check)

    @property
    def summary(self) -> str:
        """The result in one phrase: a comparison of two numbers, or the description of what was found."""
        return summarize(self.expected, self.actual)

    def with_faults(self, choose: Callable[[Fault], Fault]) -> Check:
        """Return the same check with other likely causes; `choose` returns the new one."""
        if not self.found:
            return self
        found = [replace(each, fault=choose(each.fault)) for each in self.found]
        return replace(self, found=found, examples=[str(each) for each in found])

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "table": self.table,
            "ok": self.ok,
            "expected": self.expected,
            "actual": self.actual,
            "differences": self.differences,
            "examples": list(self.examples),
            "found": [each.as_json() for each in self.found],
        }


def summarize(expected: Any, actual: Any) -> str:
    """Describe the result of a check in one phrase."""
    if isinstance(expected, int) and isinstance(actual, int):
        return f"expected {expected:,}, found {actual:,}"
    return str(actual)


def count_differing(count: int, noun: str) -> str:
    """Return a count with its noun (in the singular) and verb, such as '1 row differs' or '16 rows differ'."""
    return f"{format_count(count, f'{noun}s')} {'differs' if count == 1 else 'differ'}"


def make_check(
    code: str, table: str, found: Differences, *, expected: Any = "no differences", actual: Any = None
) -> Check:
    """Build a check from its differences. Without `actual` the number of differences is described."""
    if actual is None:
        actual = format_count(found.total, "differences") if found.total else "no differences"
    return Check(
        check=code, table=table, expected=expected, actual=actual,
        differences=found.total, examples=[str(each) for each in found.first], found=found.first,
    )  # fmt: skip


def passed_check(code: str, table: str, expected: Any = "no differences") -> Check:
    """Build a check without differences."""
    return make_check(code, table, NO_DIFFERENCES, expected=expected, actual=expected)


NO_DIFFERENCES = Differences(total=0, first=())


@dataclass(frozen=True, slots=True, kw_only=True)
class CountPair:
    """Two numbers that must be equal. `note` and `fault` describe the difference if they are not."""

    expected: int
    actual: int
    note: str
    fault: Fault = ""


def compare_counts(code: str, table: str, pair: CountPair) -> Check:
    """Build a check of two numbers; the number of differences is the distance between them."""
    distance = abs(pair.expected - pair.actual)
    one = Difference(
        row=table, expected=f"{pair.expected:,}", actual=f"{pair.actual:,}", note=pair.note, fault=pair.fault
    )
    found = Differences(total=distance, first=[one] if distance else [])
    return make_check(code, table, found, expected=pair.expected, actual=pair.actual)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one verification compares.

    `known` holds the collections that have a mapping. `only` names collections and tables, and is empty for all. With
    `show`, values are not redacted. `source_changed` and `mapper_changed` say whether the fingerprint differs from the
    fingerprint that the run recorded. `unusable` holds tables that lack required columns: the catalog checks report
    them, all other checks skip them. `workers` opens further
    connections, except in a worker process.
    """

    connection: Connection
    namespace: Namespace
    config: Config
    mappings: Mapping[str, Collection]
    metadata: MetaData
    workers: WorkerSessions | None = None
    known: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    show: bool = False
    source_changed: bool = False
    mapper_changed: bool = False
    unusable: frozenset[str] = frozenset()

    @property
    def rows(self) -> RowStore:
        """The migrated rows of the target."""
        return RowStore(self.connection, self.namespace, self.mappings)

    def has_table(self, name: str) -> bool:
        return not self.only or name in self.only or name in self._tables_of_only

    def has_collection(self, name: str) -> bool:
        if not self.only or name in self.only:
            return True
        return name in self.mappings and name_of(self.mappings[name].table) in self.only

    @property
    def _tables_of_only(self) -> frozenset[str]:
        return frozenset(name_of(m.table) for name, m in self.mappings.items() if name in self.only)

    def label_of(self, mapping: Collection) -> str:
        """Return the table of a mapping for the checks of its rows; with the collection, if others fill it, too."""
        table = name_of(mapping.table)
        return f"{table} of {mapping.name}" if is_shared(self.mappings, mapping) else table

    @property
    def chosen(self) -> dict[str, Collection]:
        """The mappings to check."""
        return {
            name: mapping
            for name, mapping in self.mappings.items()
            if self.has_collection(name) and name_of(mapping.table) not in self.unusable
        }

    @property
    def tables(self) -> list[Table]:
        """The tables to check, each after the tables that it refers to."""
        return [
            table
            for table in self.metadata.sorted_tables
            if self.has_table(name_of(table)) and name_of(table) not in self.unusable
        ]
