"""Loaded documents out of PostgreSQL again: rows as plain values with what they carry, beside ledger and residue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql

from migrator.documents.codec import Document, decode
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.references import MemberList
from migrator.postgres import copy_format
from migrator.rows.members import members_query, read_list
from migrator.state.journal import Namespace
from migrator.translation.interpreter import rebuild, rebuild_bson


def read_loaded(
    connection: psycopg.Connection[Any],
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    ids: list[Any] | None = None,
) -> Iterator[tuple[bytes, Row, bytes | None]]:
    """(source_id, row, residue) of the loaded documents of a collection: all, or those with these target ids (text)."""
    kinds = [
        (name, kind) for name, kind in copy_format.kinds_of_table(collection.table) if name not in collection.later
    ]
    names = [name for name, _ in kinds] + [key for key, *_ in collection.carried]
    members = collection.members
    types = [kind for _, kind in kinds] + [
        copy_format.kind_of_column(mappings[there].table.c[name]) for _, _, there, name in collection.carried
    ]
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(_query(namespace, mappings, collection, ids))
    values = () if ids is None else (ids,)
    with connection.cursor() as cursor, cursor.copy(statement, (collection.name, *values)) as stream:
        for source_id, residue, *fields in stream.rows():
            row = dict(zip(names, copy_format.read_row(fields[: len(names)], types), strict=True))
            for rule, listed in zip(members, fields[len(names) :], strict=True):
                row[rule.row_key] = read_list(listed)
            yield bytes(source_id), row, None if residue is None else bytes(residue)


def _query(
    namespace: Namespace, mappings: Mapping[str, Collection], collection: Collection, ids: list[Any] | None
) -> sql.Composable:
    columns: list[sql.Composable] = [sql.SQL("l.source_id"), sql.SQL("l.residue")]
    columns += [
        sql.Identifier("t", each.name) for each in collection.table.columns if each.name not in collection.later
    ]
    joins: dict[str, sql.Composable] = {}
    for _, here, there, name in collection.carried:
        joins[here] = sql.SQL(" LEFT JOIN {} {alias} ON {alias}.id = t.{here}").format(
            namespace.table(mappings[there].table.name), alias=sql.Identifier(f"r_{here}"), here=sql.Identifier(here)
        )
        columns.append(sql.Identifier(f"r_{here}", name))
    for rule in collection.members:
        columns.append(sql.Identifier(f"k_{rule.path}", "members"))
        joins[rule.row_key] = _join_members(namespace, mappings, collection, rule, ids is None)
    key = collection.table.c[collection.key.column]
    cast = sql.SQL("uuid" if copy_format.kind_of_column(key) == "uuid" else "text")
    query = namespace.sql(
        "SELECT {columns} FROM {ledger} l JOIN {table} t ON t.{key} = l.target_id::{cast} {joins}"
        " WHERE l.collection = %s AND l.outcome = 'loaded'",
        columns=sql.SQL(", ").join(columns),
        table=namespace.table(collection.table.name),
        key=sql.Identifier(collection.key.column),
        cast=cast,
        joins=sql.SQL("").join(joins.values()),
    )
    return query if ids is None else query + sql.SQL(" AND l.target_id = ANY(%s)")


def _join_members(
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    rule: MemberList,
    all_of_them: bool,
) -> sql.Composable:
    """All members of all rows at once, or one row's at a time: by indexes, where only some rows are read."""
    alias, key = sql.Identifier(f"k_{rule.path}"), sql.Identifier("t", collection.key.column)
    gathered = members_query(namespace, mappings, rule)
    if all_of_them:
        return sql.SQL(" LEFT JOIN ({} GROUP BY 1) {a} ON {a}.owner = {}::text").format(gathered, key, a=alias)
    one = sql.SQL("{} WHERE m.{} = {} GROUP BY 1").format(gathered, sql.Identifier(rule.by), key)
    return sql.SQL(" LEFT JOIN LATERAL ({}) {} ON true").format(one, alias)


def read_documents(
    connection: psycopg.Connection[Any],
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    ids: list[Any] | None = None,
) -> Iterator[tuple[bytes, Row, Document]]:
    """As `read_loaded`, with the documents rebuilt: (source_id, row, document)."""
    for source_id, row, residue in read_loaded(connection, namespace, mappings, collection, ids):
        yield source_id, row, rebuild(collection, decode(source_id), row, residue)


def read_bson(
    connection: psycopg.Connection[Any],
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    ids: list[Any] | None = None,
) -> Iterator[tuple[bytes, bytes]]:
    """The loaded documents as BSON: (source_id, document)."""
    for source_id, row, residue in read_loaded(connection, namespace, mappings, collection, ids):
        yield source_id, rebuild_bson(collection, source_id, row, residue)
