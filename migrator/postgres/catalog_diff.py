"""How one catalog differs from another, as printable values. Pure. What to do about a difference is for the caller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from migrator.postgres.catalog import Catalog, Constraint, Index, Policy, Table

Kind = Literal["extension", "enum", "table", "column", "order", "constraint", "index", "policy", "row_security"]
Part = Constraint | Index | Policy
Parts = Mapping[tuple[str, str], Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`actual` is None for what is missing, `wanted` for what is there beyond it. `table` is '' for enums and the like.

    Kind `order`: the columns are all there, in another order.
    """

    kind: Kind
    table: str
    name: str
    wanted: str | None
    actual: str | None

    def __str__(self) -> str:
        what = f"{self.kind} {self.name}" + (f" of {self.table}" if self.table not in ("", self.name) else "")
        if self.actual is None:
            return f"{what} is missing; wanted: {self.wanted}"
        if self.wanted is None:
            return f"{what} is not wanted: {self.actual}"
        return f"{what} is: {self.actual}; wanted: {self.wanted}"


def compare(actual: Catalog, wanted: Catalog) -> list[Difference]:
    """All that `wanted` has and `actual` lacks or has otherwise, and what `actual` has beyond it.

    Where one side lacks a whole table, that is one difference, not one for each of its parts.
    """
    return [
        *compare_extensions(actual, wanted),
        *compare_enums(actual, wanted),
        *compare_tables(actual, wanted),
        *(found for mine, theirs in shared_tables(actual, wanted) for found in compare_columns(mine, theirs)),
        *compare_parts("constraint", actual, wanted, actual.constraints, wanted.constraints),
        *compare_parts("index", actual, wanted, by_table(actual.indexes), by_table(wanted.indexes)),
        *compare_parts("policy", actual, wanted, actual.policies, wanted.policies),
        *(found for mine, theirs in shared_tables(actual, wanted) for found in compare_row_security(mine, theirs)),
    ]


def shared_tables(actual: Catalog, wanted: Catalog) -> list[tuple[Table, Table]]:
    return [(actual.tables[name], table) for name, table in wanted.tables.items() if name in actual.tables]


def by_table(indexes: Mapping[str, Index]) -> Parts:
    return {(index.table, index.name): index for index in indexes.values()}


def compare_extensions(actual: Catalog, wanted: Catalog) -> Iterator[Difference]:
    """Missing ones alone: a database's other extensions are none of a schema's business."""
    for name in sorted(wanted.extensions.keys() - actual.extensions.keys()):
        yield Difference(kind="extension", table="", name=name, wanted=name, actual=None)


def compare_enums(actual: Catalog, wanted: Catalog) -> Iterator[Difference]:
    for name in {**wanted.enums, **actual.enums}:
        want, have = labels(wanted.enums.get(name)), labels(actual.enums.get(name))
        if have is None:
            have = taken(actual.types, name)
        if want != have:
            yield Difference(kind="enum", table="", name=name, wanted=want, actual=have)


def labels(found: tuple[str, ...] | None) -> str | None:
    return None if found is None else ", ".join(f"'{label}'" for label in found)


def compare_tables(actual: Catalog, wanted: Catalog) -> Iterator[Difference]:
    for name in {**wanted.tables, **actual.tables}:
        want, have = kind_of(wanted.tables.get(name)), kind_of(actual.tables.get(name))
        if have is None:
            have = taken(actual.relations, name) or taken(actual.types, name)
        if want != have:
            yield Difference(kind="table", table=name, name=name, wanted=want, actual=have)


def kind_of(table: Table | None) -> str | None:
    return None if table is None else table.kind


def taken(bearers: Mapping[str, str], name: str) -> str | None:
    return f"a name that is taken ({bearers[name]})" if name in bearers else None


def compare_columns(actual: Table, wanted: Table) -> Iterator[Difference]:
    have = {column.name: column for column in actual.columns}
    want = {column.name: column for column in wanted.columns}
    for name in {**want, **have}:
        mine, theirs = (str(side[name]) if name in side else None for side in (have, want))
        if mine != theirs:
            yield Difference(kind="column", table=wanted.name, name=name, wanted=theirs, actual=mine)
    if have.keys() == want.keys() and list(have) != list(want):
        order = {"wanted": ", ".join(want), "actual": ", ".join(have)}
        yield Difference(kind="order", table=wanted.name, name=wanted.name, **order)


def compare_parts(kind: Kind, actual: Catalog, wanted: Catalog, have: Parts, want: Parts) -> Iterator[Difference]:
    for table, name in {**want, **have}:
        mine, theirs = have.get((table, name)), want.get((table, name))
        described = str(mine) if mine else rival(actual, theirs)
        shared = table in actual.tables and table in wanted.tables
        if described != (str(theirs) if theirs else None) and (shared or (theirs and described)):
            definition = str(theirs) if theirs else None
            yield Difference(kind=kind, table=table, name=name, wanted=definition, actual=described)


def rival(actual: Catalog, wanted: Part | None) -> str | None:
    """What is in the way of a missing one: a table has one primary key, and a schema one relation of a name."""
    if isinstance(wanted, Constraint) and wanted.kind == "p":
        for constraint in actual.constraints.values():
            if constraint.kind == "p" and constraint.table == wanted.table:
                return f"{constraint} under the name {constraint.name}"
    if isinstance(wanted, Index) or (isinstance(wanted, Constraint) and wanted.kind in "pux"):
        return taken(actual.relations, wanted.name)
    return None


def compare_row_security(actual: Table, wanted: Table) -> Iterator[Difference]:
    if (actual.row_security, actual.forced) != (wanted.row_security, wanted.forced):
        switches = {"wanted": switched(wanted), "actual": switched(actual)}
        yield Difference(kind="row_security", table=wanted.name, name=wanted.name, **switches)


def switched(table: Table) -> str:
    return ("on" if table.row_security else "off") + (", forced" if table.forced else "")
