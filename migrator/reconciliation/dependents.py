"""Rows below others: how their documents stay the same when the rows change that they refer to, and carry from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from migrator.documents.codec import Document, decode
from migrator.documents.residue import whole_of
from migrator.mapping.collection import Collection
from migrator.rows.lookup import for_sql
from migrator.rows.rebuild import read_loaded
from migrator.state.journal import Namespace
from migrator.translation.encoder import spell_id
from migrator.translation.interpreter import rebuild, residue_of

Connection = psycopg.Connection[Any]
Kept = tuple[Collection, list[str], dict[bytes | str, Document]]


@contextmanager
def preserve_dependents(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    collection: Collection,
    row_ids: list[Any],
) -> Iterator[None]:
    """Documents whose way back goes by these rows are the same after the block, in which the rows are changed.

    In a transaction only: in between, the residues of these documents do not fit.
    """
    kept = [
        _keep(connection, namespace, mappings, child, column, row_ids) for child, column in _below(mappings, collection)
    ]
    yield
    query = namespace.sql("UPDATE {ledger} SET residue = %s WHERE collection = %s AND target_id = %s")
    for child, ids, documents in kept:
        for _, row, residue in list(read_loaded(connection, namespace, mappings, child, ids)) if ids else ():
            row_id = row[child.key.column]
            if whole_of(residue) is None:
                fitting = residue_of(child, documents[row_id], row)
                if fitting != residue:
                    connection.execute(query, (fitting, child.name, spell_id(row_id)))


def _below(mappings: Mapping[str, Collection], collection: Collection) -> set[tuple[Collection, str]]:
    """(collection, column that refers to these rows) of all that carry something from them."""
    return {
        (child, here) for child in mappings.values() for _, here, there, _ in child.carried if there == collection.name
    }


def _keep(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    child: Collection,
    column: str,
    row_ids: list[Any],
) -> Kept:
    query = sql.SQL("SELECT {}::text FROM {} WHERE {} = ANY(%s)").format(
        sql.Identifier(child.key.column), namespace.table(child.table.name), sql.Identifier(column)
    )
    ids = [row[0] for row in connection.execute(query, (list(map(for_sql, row_ids)),))]
    documents = {
        row[child.key.column]: rebuild(child, decode(source_id), row, residue)
        for source_id, row, residue in (read_loaded(connection, namespace, mappings, child, ids) if ids else ())
    }
    return child, ids, documents
