"""The record `changes`: which rows the application has changed, and what they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.copy_format import kinds_of_table, read_row
from migrator.rows.store import RowStore
from migrator.state.records import Connection, Namespace

Images = dict[tuple[str, str], Row | None]  # (collection, ID of the row) → its columns; None: there is no row


@dataclass(slots=True, kw_only=True)
class Pending:
    """The changes of a batch. `numbers`: of all its records; `before`: the changed rows as they were at the last
    return."""

    numbers: list[int] = field(default_factory=list)
    before: Images = field(default_factory=dict)

    def keys_of(self, collection: str) -> list[str]:
        """Return the IDs of the changed rows of a collection."""
        return [key for name, key in self.before if name == collection]


def read_pending(rows: RowStore, limit: int) -> Pending:
    """Return the oldest changes, about `limit`. Requires a transaction with one snapshot.

    All changes of a row that the snapshot sees are returned together.
    """
    names = {mapping.table.name: name for name, mapping in rows.mappings.items()}
    query = rows.namespace.sql(
        "WITH keys AS (SELECT DISTINCT table_name, key FROM"
        "  (SELECT table_name, key FROM {changes} ORDER BY number LIMIT %s) o)"
        " SELECT c.table_name, c.key, array_agg(c.number ORDER BY c.number) FROM {changes} c"
        " JOIN keys USING (table_name, key) GROUP BY 1, 2 ORDER BY min(c.number)"
    )
    found, first = Pending(), defaultdict[str, list[int]](list)
    for table, key, numbers in rows.connection.execute(query, (limit,)):
        found.numbers += numbers
        if table in names:
            found.before[names[table], key] = None
            first[names[table]].append(numbers[0])
    for name, numbers in first.items():
        found.before |= _read_old(rows, rows.mappings[name], numbers)
    return found


def _read_old(rows: RowStore, collection: Collection, numbers: list[int]) -> Images:
    """Return the rows before the changes with these numbers, without those that were inserted."""
    query = rows.namespace.sql(
        "SELECT c.key, {columns} FROM {changes} c CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, c.old) t"
        " WHERE c.number = ANY(%s) AND c.old IS NOT NULL",
        columns=_columns(collection),
        table=rows.table(collection),
    )
    return _read(rows, collection, query, (numbers,))


def read_present(rows: RowStore, collection: Collection, ids: list[str]) -> Images:
    """Return rows as they are; None for those that do not exist."""
    kind = sql.SQL("uuid" if dict(kinds_of_table(collection.table))[collection.key.column] == "uuid" else "text")
    query = sql.SQL("SELECT t.{key}::text, {columns} FROM {table} t WHERE t.{key} = ANY(%s::{kind}[])").format(
        key=sql.Identifier(collection.key.column),
        columns=_columns(collection),
        table=rows.table(collection),
        kind=kind,
    )
    return {(collection.name, key): None for key in ids} | (_read(rows, collection, query, (ids,)) if ids else {})


def _columns(collection: Collection) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("t", column.name) for column in collection.table.columns)


def _read(rows: RowStore, collection: Collection, query: sql.Composed, values: tuple[Any, ...]) -> Images:
    names, kinds = zip(*kinds_of_table(collection.table), strict=True)
    found: Images = {}
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)
    with rows.connection.cursor() as cursor, cursor.copy(statement, values) as stream:
        for key, *fields in stream.rows():
            found[collection.name, bytes(key).decode()] = dict(zip(names, read_row(fields, kinds), strict=True))
    return found


def delete(connection: Connection, namespace: Namespace, numbers: Iterable[int]) -> None:
    """Delete records of changes that are returned."""
    connection.execute(namespace.sql("DELETE FROM {changes} WHERE number = ANY(%s)"), (list(numbers),))


def changed_columns(before: Row | None, after: Row | None) -> set[str]:
    """Return the names of the columns that differ; all of them if there was no row, or is none."""
    if before is None or after is None:
        return set(after or before or ())
    return {name for name in after if after[name] != before.get(name)}


def by_collection(mappings: Mapping[str, Collection], images: Images) -> dict[str, list[str]]:
    """Return collection → IDs."""
    found: dict[str, list[str]] = {name: [] for name in mappings}
    for name, key in images:
        found[name].append(key)
    return {name: keys for name, keys in found.items() if keys}
