"""Rows of one table by the values of a column: which values some rows have, which rows have a value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy_format import read_row
from migrator.postgres.session import owner_search_path
from migrator.rows.copy import delete_children
from migrator.rows.store import RowStore
from migrator.state.row_keys import column_of, key_of


def values_of(rows: RowStore, collection: Collection, column: str, ids: list[str]) -> set[str]:
    """Return the values of a column of the rows `ids`, as text, without NULL."""
    query = "SELECT DISTINCT {column}::text FROM {table} WHERE {chosen} AND {column} IS NOT NULL"
    names = {**_key_names(rows, collection), "column": sql.Identifier(column)}
    return {row[0] for row in rows.connection.execute(sql.SQL(query).format(**names), (ids,))}


def references_of(rows: RowStore, collection: Collection, column: str, ids: list[str]) -> dict[str, str]:
    """Return row ID → value of a column, as text, of the rows `ids`, without NULL."""
    query = "SELECT {key}, {column}::text FROM {table} WHERE {chosen} AND {column} IS NOT NULL"
    names = {**_key_names(rows, collection), "column": sql.Identifier(column)}
    return dict(rows.connection.execute(sql.SQL(query).format(**names), (ids,)).fetchall())


def read_columns(rows: RowStore, collection: Collection, columns: list[str], ids: list[str]) -> Iterator[list[Any]]:
    """Yield the plain values of columns of those rows `ids` that this migration loaded."""
    query = rows.namespace.sql(
        "SELECT {columns} FROM {ledger} l JOIN {table} t ON {joined}"
        " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = ANY(%s)",
        columns=sql.SQL(", ").join(column_of(collection, each).value("t") for each in columns),
        table=rows.table(collection),
        joined=key_of(collection).is_text("t", sql.SQL("l.target_id")),
    )
    kinds = [column_of(collection, each).kind for each in columns]
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)
    with rows.connection.cursor() as cursor, cursor.copy(statement, (collection.name, ids)) as stream:
        for fields in stream.rows():
            yield read_row(fields, kinds)


def ids_with(rows: RowStore, collection: Collection, column: str, values: list[str]) -> set[str]:
    """Return the IDs, as text, of the rows that have one of `values` in a column."""
    if not values:
        return set()
    query = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s::{}[])").format(
        key_of(collection).text(),
        rows.table(collection),
        sql.Identifier(column),
        sql.SQL(kind_of_column(collection.table.c[column])),
    )
    return {row[0] for row in rows.connection.execute(query, (values,))}


def delete_rows(rows: RowStore, collection: Collection, ids: list[str]) -> None:
    """Delete the rows `ids`. Requires a recorded transaction."""
    delete_children(rows.connection, rows.namespace, collection, ids)
    query = "DELETE FROM {table} WHERE {chosen}"
    with owner_search_path(rows.connection):
        rows.connection.execute(sql.SQL(query).format(**_key_names(rows, collection)), (ids,))


def _key_names(rows: RowStore, collection: Collection) -> dict[str, sql.Composable]:
    return {
        "table": rows.table(collection),
        "key": key_of(collection).text(),
        "chosen": key_of(collection).is_in(),
    }
