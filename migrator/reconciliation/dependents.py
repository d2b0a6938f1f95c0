"""Keeps the documents of dependent rows unchanged while the rows that they carry values from are changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from migrator.documents.codec import Document
from migrator.documents.residue import raw_document_of
from migrator.mapping.collection import Collection
from migrator.rows.plain_values import sql_parameter
from migrator.rows.rebuild import read_loaded, rebuild_document
from migrator.rows.store import RowStore
from migrator.state.row_keys import key_of
from migrator.translation.encoder import format_target_id
from migrator.translation.interpreter import residue_of


@dataclass(frozen=True, slots=True)
class Dependents:
    """The rows of one collection that refer to rows about to change. `ids` as text, `documents` by plain ID."""

    collection: Collection
    ids: list[str]
    documents: Mapping[bytes | str, Document]


@contextmanager
def preserve_dependents(rows: RowStore, collection: Collection, row_ids: list[Any]) -> Iterator[None]:
    """Update the residues of dependent rows after the block has changed the rows `row_ids` of a collection.

    Use it in a transaction: in between, the residues do not match the rows.
    """
    dependents = [
        _read_dependents(rows, child, column, row_ids) for child, column in _dependent_columns(rows, collection)
    ]
    yield
    query = rows.namespace.sql("UPDATE {ledger} SET residue = %s WHERE collection = %s AND target_id = %s")
    for each in dependents:
        child = each.collection
        for _, row, residue in list(read_loaded(rows, child, each.ids)) if each.ids else ():
            row_id = row[child.key.column]
            if raw_document_of(residue) is None:
                new_residue = residue_of(child, each.documents[row_id], row)
                if new_residue != residue:
                    rows.connection.execute(query, (new_residue, child.name, format_target_id(row_id)))


def _dependent_columns(rows: RowStore, collection: Collection) -> set[tuple[Collection, str]]:
    """Return (collection, referring column) of all collections that carry values from this one."""
    return {
        (child, here)
        for child in rows.mappings.values()
        for _, here, there, _ in child.carried_columns
        if there == collection.name
    }


def _read_dependents(rows: RowStore, child: Collection, column: str, row_ids: list[Any]) -> Dependents:
    query = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s)").format(
        key_of(child).text(), rows.table(child), sql.Identifier(column)
    )
    ids = [row[0] for row in rows.connection.execute(query, (list(map(sql_parameter, row_ids)),))]
    documents = {
        row[child.key.column]: rebuild_document(child, source_id, row, residue)
        for source_id, row, residue in (read_loaded(rows, child, ids) if ids else ())
    }
    return Dependents(child, ids, documents)
