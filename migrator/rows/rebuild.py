"""Reads loaded rows back from PostgreSQL and rebuilds their documents."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bson.errors import BSONError
from psycopg import sql

from migrator.documents.codec import Document, decode
from migrator.documents.residue import raw_document_of, remainder_marker
from migrator.errors import DifferenceError
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.references import MemberList
from migrator.postgres import copy_format
from migrator.postgres.column_kinds import kind_of_column
from migrator.rows.children import ChildReader, children_query
from migrator.rows.members import members_query, read_list
from migrator.rows.store import RowStore
from migrator.translation.encoder import format_target_id
from migrator.translation.interpreter import rebuild, rebuild_bson, restore_fields

# What a document can raise whose row or residue has been changed since the run.
DAMAGED = (BSONError, LookupError, TypeError, ValueError, AttributeError, struct.error)
LoadedRow = tuple[bytes, Row, bytes | None]  # source_id, row, residue


def read_loaded(rows: RowStore, collection: Collection, ids: list[Any] | None = None) -> Iterator[LoadedRow]:
    """Yield (source_id, row, residue) of the loaded documents of a collection.

    All documents, or those with the target IDs `ids` (text). A row also holds the values that it carries from the rows
    it refers to, and its member lists.
    """
    for source_id, row, residue, _ in read_loaded_fields(rows, collection, ids):
        yield source_id, row, residue


def read_loaded_fields(
    rows: RowStore, collection: Collection, ids: list[Any] | None = None
) -> Iterator[tuple[bytes, Row, bytes | None, list[bytes | None]]]:
    """Yield (source_id, row, residue, fields), like `read_loaded`. `fields`: the columns of the row, not decoded."""
    unread = collection.filled_later - _late_columns(collection).keys()
    kinds = [(name, kind) for name, kind in collection.kinds if name not in unread]
    names = [name for name, _ in kinds] + [key for key, *_ in collection.carried_columns]
    members = collection.member_lists
    children = [(rule.row_key, ChildReader(rule)) for rule in collection.children]
    types = [kind for _, kind in kinds] + [
        kind_of_column(rows.mappings[there].table.c[name]) for _, _, there, name in collection.carried_columns
    ]
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(_query(rows, collection, ids))
    values = () if ids is None else (ids,)
    with rows.connection.cursor() as cursor, cursor.copy(statement, (collection.name, *values)) as stream:
        for source_id, residue, *fields in stream.rows():
            row = dict(zip(names, copy_format.read_row(fields[: len(names)], types), strict=True))
            for rule, listed in zip(members, fields[len(names) :], strict=False):
                row[rule.row_key] = read_list(listed)
            for (row_key, child), found in zip(children, fields[len(names) + len(members) :], strict=True):
                row[row_key] = child.read(found)
            yield bytes(source_id), row, None if residue is None else bytes(residue), fields


def _query(rows: RowStore, collection: Collection, ids: list[Any] | None) -> sql.Composable:
    columns: list[sql.Composable] = [sql.SQL("l.source_id"), sql.SQL("l.residue")]
    late = _late_columns(collection)
    for each in collection.columns:
        if each.name in late:
            columns.append(_if_restored(each.name, late[each.name]))
        elif each.name not in collection.filled_later:
            columns.append(sql.Identifier("t", each.name))
    joins: dict[str, sql.Composable] = {}
    for _, here, there, name in collection.carried_columns:
        joins[here] = sql.SQL(" LEFT JOIN {} {alias} ON {alias}.{key} = t.{here}").format(
            rows.table(rows.mappings[there]),
            key=sql.Identifier(rows.mappings[there].key.column),
            alias=sql.Identifier(f"r_{here}"),
            here=sql.Identifier(here),
        )
        columns.append(sql.Identifier(f"r_{here}", name))
    for rule in collection.member_lists:
        columns.append(sql.Identifier(f"k_{rule.path}", "members"))
        joins[rule.row_key] = _join_members(rows, collection, rule, all_rows=ids is None)
    for child in collection.children:
        columns.append(sql.Identifier(f"n_{child.path}", "rows"))
        joins[child.row_key] = _join_children(rows, collection, child, all_rows=ids is None)
    key = collection.table.c[collection.key.column]
    cast = sql.SQL(kind_of_column(key))
    query = rows.namespace.sql(
        "SELECT {columns} FROM {ledger} l JOIN {table} t ON t.{key} = l.target_id::{cast} {joins}"
        " WHERE l.collection = %s AND l.outcome = 'loaded'",
        columns=sql.SQL(", ").join(columns),
        table=rows.table(collection),
        key=sql.Identifier(collection.key.column),
        cast=cast,
        joins=sql.SQL("").join(joins.values()),
    )
    return query if ids is None else query + sql.SQL(" AND l.target_id = ANY(%s)")


def _late_columns(collection: Collection) -> dict[str, str]:
    """Return the columns that a later stage fills where documents have no value, with the field that they restore."""
    return {
        name: rule.path for rule in collection.variant_rules for name in rule.inputs if name in collection.filled_later
    }


def _if_restored(column: str, field: str) -> sql.Composable:
    """Return the column of those rows whose document had the field; reading it from the others would be slow."""
    return sql.SQL("CASE WHEN position({} IN l.residue) > 0 THEN {} END").format(
        sql.Literal(remainder_marker(field)), sql.Identifier("t", column)
    )


def _join_members(rows: RowStore, collection: Collection, rule: MemberList, *, all_rows: bool) -> sql.Composable:
    """Return the join with the members of the rows.

    For all rows, one aggregate over the whole table; for some rows, a lateral join that uses the indexes.
    """
    alias, key = sql.Identifier(f"k_{rule.path}"), sql.Identifier("t", collection.key.column)
    gathered = members_query(rows.namespace, rows.mappings, rule)
    if all_rows:
        return sql.SQL(" LEFT JOIN ({} GROUP BY 1) {a} ON {a}.owner = {}::text").format(gathered, key, a=alias)
    one = sql.SQL("{} WHERE m.{} = {} GROUP BY 1").format(gathered, sql.Identifier(rule.reference_column), key)
    return sql.SQL(" LEFT JOIN LATERAL ({}) {} ON true").format(one, alias)


def _join_children(rows: RowStore, collection: Collection, rule: Children, *, all_rows: bool) -> sql.Composable:
    """Return the join with the rows that belong to the rows: as `_join_members`."""
    alias, key = sql.Identifier(f"n_{rule.path}"), sql.Identifier("t", collection.key.column)
    gathered = children_query(rows.namespace, rule, all_rows=all_rows)
    if all_rows:
        return sql.SQL(" LEFT JOIN ({} GROUP BY 1) {a} ON {a}.owner OPERATOR(pg_catalog.=) {}").format(
            gathered, key, a=alias
        )
    one = sql.SQL("{} WHERE c.{} OPERATOR(pg_catalog.=) {} GROUP BY 1").format(
        gathered, sql.Identifier(rule.parent), key
    )
    return sql.SQL(" LEFT JOIN LATERAL ({}) {} ON true").format(one, alias)


def read_documents(
    rows: RowStore, collection: Collection, ids: list[Any] | None = None
) -> Iterator[tuple[bytes, Row, Document]]:
    """Yield (source_id, row, rebuilt document), like `read_loaded`."""
    for source_id, row, residue in read_loaded(rows, collection, ids):
        yield source_id, row, rebuild_document(collection, source_id, row, residue)


def read_bson(rows: RowStore, collection: Collection, ids: list[Any] | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Yield (source_id, rebuilt document as BSON), like `read_loaded`."""
    for source_id, row, residue in read_loaded(rows, collection, ids):
        yield source_id, rebuild_raw(collection, source_id, row, residue)


def rebuild_document(
    collection: Collection,
    source_id: bytes,
    row: Row,
    residue: bytes | None,
    restore: Callable[[Collection, Row], Document] = restore_fields,
) -> Document:
    """Return the document of a row. `restore` returns the fields that it restores, in a new document.

    Raises:
        DifferenceError: the row or its residue has been changed, so that they do not fit each other.
    """
    with _translate_damage(collection, row):
        restored = None if raw_document_of(residue) is not None else restore(collection, row)
        return rebuild(collection, decode(source_id), row, residue, restored)


def rebuild_raw(collection: Collection, source_id: bytes, row: Row, residue: bytes | None) -> bytes:
    """Return the document of a row as BSON, like `rebuild_document`."""
    with _translate_damage(collection, row):
        return rebuild_bson(collection, source_id, row, residue)


@contextmanager
def _translate_damage(collection: Collection, row: Row) -> Iterator[None]:
    """Translate the errors of a document that cannot be rebuilt to `DifferenceError`."""
    try:
        yield
    except DAMAGED as error:
        table, key = collection.table.name, format_target_id(row[collection.key.column])
        raise DifferenceError(
            f"{collection.name}: the document of row {key} in table {table} cannot be rebuilt: the row no longer fits"
            " the residue in the ledger",
            hint=f"Another application has probably changed this row. `migrate verify --only {collection.name} --level"
            " roundtrip` lists all such rows. Restore them, then run the same command again.",
        ) from error
