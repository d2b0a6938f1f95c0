"""What a check says, and what all checks look at. Nothing here asks a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import MetaData, Table

from migrator.config.models import Config
from migrator.mapping.collection import Collection
from migrator.state.records import Connection, Namespace

EXAMPLES = 10  # how many differences a check spells out

Fault = Literal["source", "target", "mapper", ""]
BLAME: dict[Fault, str] = {
    "source": "the source has changed since the run",
    "target": "the target has changed since the run",
    "mapper": "the mapping does not give what the run wrote",
    "": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it should be.

    `row` is its id (of a row, a document, an object of the catalog), `column` the column, field or property, '' for all
    of it. `expected` and `actual` are None where there should be, or is, nothing; values are masked already. `note`
    says in words what is wrong, `fault` whose doing it is ('' where nobody can tell).
    """

    row: str
    column: str = ""
    expected: str | None = None
    actual: str | None = None
    note: str = ""
    fault: Fault = ""

    def __str__(self) -> str:
        where = f"{self.row}, {self.column}" if self.column else self.row
        if self.expected is not None and self.actual is not None:
            told = f"{where}: is {self.actual}, should be {self.expected}"
        elif self.expected is not None and not self.note:
            told = f"{where}: missing; should be {self.expected}"
        elif self.actual is not None and not self.note:
            told = f"{where}: should not be there: {self.actual}"
        else:
            told = where
        told = f"{told}: {self.note}" if self.note else told
        return f"{told} ({BLAME[self.fault]})" if self.fault else told

    def as_json(self) -> dict[str, Any]:
        return {
            "row": self.row, "column": self.column, "expected": self.expected, "actual": self.actual,
            "note": self.note, "fault": self.fault,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check on one table or collection.

    `differences` is how many there are, `found` some of them, `examples` the same in words.
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

    def without_faults(self) -> Check:
        """The same where nobody can tell whose doing it is."""
        if not self.found:
            return self
        found = [replace(each, fault="") for each in self.found]
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


def judged(
    check: str,
    table: str,
    found: Sequence[Difference],
    differences: int | None = None,
    *,
    expected: Any = "no difference",
    actual: Any = None,
) -> Check:
    """A check that found these; `differences` is their number where they are only some."""
    count = len(found) if differences is None else differences
    shown = found[:EXAMPLES]
    return Check(
        check=check, table=table, expected=expected, actual=f"{count:,} differ" if actual is None else actual,
        differences=count, examples=[str(each) for each in shown], found=shown,
    )  # fmt: skip


def equal_counts(check: str, table: str, expected: int, actual: int, note: str = "", fault: Fault = "") -> Check:
    """Two numbers that must be the same."""
    differences = abs(expected - actual)
    note = note or "not as many as there should be"
    one = Difference(row=table, expected=f"{expected:,}", actual=f"{actual:,}", note=note, fault=fault)
    found = [one] if differences else []
    return judged(check, table, found, differences, expected=expected, actual=actual)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a verification looks at.

    `known` are collections that there are rules for. `only` names collections and tables, empty for all; `show` lets
    values be seen. `source_changed` and `mapper_changed` say whether their fingerprints are not those of the run.
    `unusable` are tables without the columns that they must have: the catalog's checks tell of them, all others pass
    over them.
    """

    connection: Connection
    namespace: Namespace
    config: Config
    mappings: Mapping[str, Collection]
    metadata: MetaData
    known: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    show: bool = False
    source_changed: bool = False
    mapper_changed: bool = False
    unusable: frozenset[str] = frozenset()

    def has_table(self, name: str) -> bool:
        return not self.only or name in self.only or name in self._tables_of_only

    def has_collection(self, name: str) -> bool:
        if not self.only or name in self.only:
            return True
        return name in self.mappings and self.mappings[name].table.name in self.only

    @property
    def _tables_of_only(self) -> frozenset[str]:
        return frozenset(m.table.name for name, m in self.mappings.items() if name in self.only)

    @property
    def chosen(self) -> dict[str, Collection]:
        """The mappings that are looked at."""
        return {
            name: mapping
            for name, mapping in self.mappings.items()
            if self.has_collection(name) and mapping.table.name not in self.unusable
        }

    @property
    def tables(self) -> list[Table]:
        """The tables that are looked at, referenced before referencing."""
        return [
            table
            for table in self.metadata.sorted_tables
            if self.has_table(table.name) and table.name not in self.unusable
        ]
