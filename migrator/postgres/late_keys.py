"""Keys and unique constraints that are made after the load: nothing finds rows by them before.

COPY maintains an index row by row, which takes three times as long as building it at once.

Most of them no row can violate. The keys of documents can be violated: `stages/document_keys.py` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
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


def find_document_keys(
    metadata: MetaData, candidates: Sequence[tuple[frozenset[str], Sequence[str]]], late: frozenset[Ref]
) -> frozenset[Ref]:
    """Return the keys of documents that may be made after the load.

    `candidates`: the columns of each key, and the tables that these documents fill, their own one first. If anything
    else in these tables is unique, apart from `late`, the load may have to find rows by the key.
    """
    unique: dict[str, list[Statement]] = {}
    for each in ddl.statements(metadata, rls=False):
        if each.kind in ("key", "unique", "unique_index") and each.ref not in late:
            unique.setdefault(each.table, []).append(each)
    found = set()
    for columns, tables in candidates:
        keys = [each for name in tables for each in unique.get(name, ())]
        found |= {each.ref for each in keys if len(keys) == 1 and each.index_sql and columns <= set(each.columns)}
    return frozenset(found)


def missing_keys(metadata: MetaData, actual: Catalog) -> Iterator[Statement]:
    """Yield the keys and unique constraints that the target does not have."""
    for each in ddl.statements(metadata, rls=False):
        if each.kind in ("key", "unique") and not actual.has(each):
            yield each


def without_built(actual: Catalog, late: frozenset[Ref], built: Set[tuple[str, str]]) -> Catalog:
    """Leave out the indexes of late keys that an interrupted run has built, but not made the indexes of these keys.

    `built`: the unique indexes that the migration has created, as (table, name).
    """
    unfinished = ({(ref.table, ref.name) for ref in late} & built) - actual.constraints.keys()
    names = {qualify(schema_of(table), name) for table, name in unfinished}
    return replace(
        actual,
        indexes={name: each for name, each in actual.indexes.items() if name not in names},
        relations={name: each for name, each in actual.relations.items() if name not in names},
    )


def make_now(connection: Connection, metadata: MetaData, late: frozenset[Ref]) -> None:
    """Make those of the late keys that are missing: rows are about to be found by them."""
    for each in read_missing(connection, metadata, late):
        make(connection, each)


def read_missing(connection: Connection, metadata: MetaData, late: frozenset[Ref]) -> list[Statement]:
    """Return those of the late keys that the target does not have."""
    if not late:
        return []
    actual = catalog.read(connection, schemas_in(metadata))
    return [each for each in missing_keys(metadata, actual) if each.ref in late and each.table in actual.tables]


def make(connection: Connection, key: Statement) -> None:
    """Make a late key. Raises: `UniqueViolation`; `StoppedError` if a lock is not available; `TargetError`."""
    with schema_changes.translate_errors():
        schema_changes.execute(connection, f"{schema_changes.index_build(key)}; {schema_changes.attachment(key)}")
