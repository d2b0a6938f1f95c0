"""Keys and unique constraints that are made after the load, because no row can violate them.

COPY maintains an index row by row, which takes three times as long as building it at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from sqlalchemy import MetaData

from migrator.postgres import catalog, ddl, schema_changes
from migrator.postgres.catalog import Catalog
from migrator.postgres.placement import schemas_in
from migrator.postgres.statements import Ref, Statement
from migrator.postgres.table_names import qualify, schema_of

Connection = psycopg.Connection[Any]


def find_late_keys(metadata: MetaData, certain: Mapping[str, Sequence[frozenset[str]]]) -> frozenset[Ref]:
    """Return the keys that may be made after the load. `certain`: table → sets of columns that are unique certainly."""
    return frozenset(
        each.ref
        for each in ddl.statements(metadata, rls=False)
        if each.index_sql and any(columns <= set(each.columns) for columns in certain.get(each.table, ()))
    )


def missing_keys(metadata: MetaData, actual: Catalog) -> Iterator[Statement]:
    """Yield the keys and unique constraints that the target does not have."""
    for each in ddl.statements(metadata, rls=False):
        if each.kind in ("key", "unique") and not actual.has(each):
            yield each


def without_unfinished(actual: Catalog, expected: Catalog, late: frozenset[Ref]) -> Catalog:
    """Leave out the indexes of late keys that an interrupted run has built, but not made the indexes of these keys."""
    names = {
        qualify(schema_of(ref.table), ref.name)
        for ref in late
        if (ref.table, ref.name) not in actual.constraints and _is_built(actual, expected, ref)
    }
    return replace(
        actual,
        indexes={name: each for name, each in actual.indexes.items() if name not in names},
        relations={name: each for name, each in actual.relations.items() if name not in names},
    )


def _is_built(actual: Catalog, expected: Catalog, ref: Ref) -> bool:
    found, key = actual.index(ref.table, ref.name), expected.constraints.get((ref.table, ref.name))
    if found is None or key is None or not found.unique:
        return False
    columns = key.definition.removeprefix("PRIMARY KEY ").removeprefix("UNIQUE ")
    return found.table == ref.table and found.definition.endswith(f" USING btree {columns}")


def make_now(connection: Connection, metadata: MetaData, late: frozenset[Ref]) -> None:
    """Make those of the late keys that are missing: rows are about to be found by them."""
    if not late:
        return
    actual = catalog.read(connection, schemas_in(metadata))
    for each in missing_keys(metadata, actual):
        if each.ref in late and each.table in actual.tables:
            schema_changes.execute(connection, f"{each.index_sql}; {schema_changes.attachment(each)}")
