"""Compares two catalogs and describes each difference as a printable value.

Pure functions, no database access. What to do about a difference is the caller's decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from migrator.postgres.catalog import Catalog, Constraint, Index, Policy, Table
from migrator.postgres.table_names import qualify, schema_of

CatalogKind = Literal[
    "extension", "enum", "domain", "table", "column", "order", "constraint", "index", "policy", "row_security"
]
Part = Constraint | Index | Policy
Parts = Mapping[tuple[str, str], Part]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogDifference:
    """One difference between a schema and its definition.

    `actual` is None if the object is missing, `expected` is None if the definition does not contain it. `table` is ''
    for extensions and enums. CatalogKind `order`: all columns exist, in another order.
    """

    kind: CatalogKind
    table: str
    name: str
    expected: str | None
    actual: str | None

    def __str__(self) -> str:
        what = f"{self.kind} {self.name}" + (f" of {self.table}" if self.table not in ("", self.name) else "")
        if self.actual is None:
            return f"{what} is missing; expected {self.expected}"
        if self.expected is None:
            return f"{what} is not in the definition: {self.actual}"
        return f"{what} differs: found {self.actual}; expected {self.expected}"


def compare(actual: Catalog, expected: Catalog) -> list[CatalogDifference]:
    """Return every difference between `actual` and `expected`.

    A table that one side lacks is one difference, not one for each of its constraints, indexes and policies.
    """
    return [
        *compare_extensions(actual, expected),
        *compare_enums(actual, expected),
        *compare_domains(actual, expected),
        *compare_tables(actual, expected),
        *(found for mine, theirs in shared_tables(actual, expected) for found in compare_columns(mine, theirs)),
        *compare_parts("constraint", actual, expected, actual.constraints, expected.constraints),
        *compare_parts("index", actual, expected, by_table(actual.indexes), by_table(expected.indexes)),
        *compare_parts("policy", actual, expected, actual.policies, expected.policies),
        *(found for mine, theirs in shared_tables(actual, expected) for found in compare_row_security(mine, theirs)),
    ]


def shared_tables(actual: Catalog, expected: Catalog) -> list[tuple[Table, Table]]:
    return [(actual.tables[name], table) for name, table in expected.tables.items() if name in actual.tables]


def by_table(indexes: Mapping[str, Index]) -> Parts:
    return {(index.table, index.name): index for index in indexes.values()}


def compare_extensions(actual: Catalog, expected: Catalog) -> Iterator[CatalogDifference]:
    """Yield the missing extensions. Other extensions of the database are not part of the schema."""
    for name in sorted(expected.extensions.keys() - actual.extensions.keys()):
        yield CatalogDifference(kind="extension", table="", name=name, expected=name, actual=None)


def compare_enums(actual: Catalog, expected: Catalog) -> Iterator[CatalogDifference]:
    for name in {**expected.enums, **actual.enums}:
        expected_text, actual_text = format_labels(expected.enums.get(name)), format_labels(actual.enums.get(name))
        if actual_text is None:
            actual_text = describe_holder(actual.types, name)
        if expected_text != actual_text:
            yield CatalogDifference(kind="enum", table="", name=name, expected=expected_text, actual=actual_text)


def compare_domains(actual: Catalog, expected: Catalog) -> Iterator[CatalogDifference]:
    """Yield the domains that differ. Other domains are types of the owner."""
    for name, definition in expected.domains.items():
        found = actual.domains.get(name) or describe_holder(actual.types, name)
        if found != definition:
            yield CatalogDifference(kind="domain", table="", name=name, expected=definition, actual=found)


def format_labels(found: tuple[str, ...] | None) -> str | None:
    return None if found is None else ", ".join(f"'{label}'" for label in found)


def compare_tables(actual: Catalog, expected: Catalog) -> Iterator[CatalogDifference]:
    for name in {**expected.tables, **actual.tables}:
        expected_text, actual_text = kind_of(expected.tables.get(name)), kind_of(actual.tables.get(name))
        if actual_text is None:
            actual_text = describe_holder(actual.relations, name) or describe_holder(actual.types, name)
        if expected_text != actual_text:
            yield CatalogDifference(kind="table", table=name, name=name, expected=expected_text, actual=actual_text)


def kind_of(table: Table | None) -> str | None:
    return None if table is None else table.kind


def describe_holder(bearers: Mapping[str, str], name: str) -> str | None:
    return f"name already in use ({bearers[name]})" if name in bearers else None


def compare_columns(actual: Table, expected: Table) -> Iterator[CatalogDifference]:
    """Yield the columns that differ; if all are equal, a different order."""
    found = {column.name: str(column) for column in actual.columns}
    defined = {column.name: str(column) for column in expected.columns}
    for name in {**defined, **found}:
        if found.get(name) != defined.get(name):
            texts = {"expected": defined.get(name), "actual": found.get(name)}
            yield CatalogDifference(kind="column", table=expected.name, name=name, **texts)
    if found.keys() == defined.keys() and list(found) != list(defined):
        order = {"expected": ", ".join(defined), "actual": ", ".join(found)}
        yield CatalogDifference(kind="order", table=expected.name, name=expected.name, **order)


def compare_parts(
    kind: CatalogKind, actual: Catalog, expected: Catalog, found: Parts, defined: Parts
) -> Iterator[CatalogDifference]:
    """Yield the constraints, indexes or policies that differ, except those of a missing table."""
    for table, name in {**defined, **found}:
        mine, theirs = found.get((table, name)), defined.get((table, name))
        described = str(mine) if mine else find_blocker(actual, theirs)
        definition = str(theirs) if theirs else None
        shared = table in actual.tables and table in expected.tables
        if described != definition and (shared or (theirs and described)):
            yield CatalogDifference(kind=kind, table=table, name=name, expected=definition, actual=described)


def find_blocker(actual: Catalog, expected: Part | None) -> str | None:
    """Return what prevents the creation of a missing object, or None.

    A table can have one primary key only, and a schema one relation of each name.
    """
    if isinstance(expected, Constraint) and expected.kind == "p":
        for constraint in actual.constraints.values():
            if constraint.kind == "p" and constraint.table == expected.table:
                return f"{constraint} named {constraint.name}"
    if isinstance(expected, Index) or (isinstance(expected, Constraint) and expected.kind in "pux"):
        return describe_holder(actual.relations, qualify(schema_of(expected.table), expected.name))
    return None


def compare_row_security(actual: Table, expected: Table) -> Iterator[CatalogDifference]:
    if (actual.row_security, actual.forced) != (expected.row_security, expected.forced):
        texts = {"expected": describe_row_security(expected), "actual": describe_row_security(actual)}
        yield CatalogDifference(kind="row_security", table=expected.name, name=expected.name, **texts)


def describe_row_security(table: Table) -> str:
    return ("on" if table.row_security else "off") + (", forced" if table.forced else "")
