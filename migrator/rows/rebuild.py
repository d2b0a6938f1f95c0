"""Reads loaded rows back from PostgreSQL and rebuilds their documents."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bson.errors import BSONError

from migrator.documents.codec import Document, decode
from migrator.documents.residue import raw_document_of
from migrator.errors import DifferenceError
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.table_names import name_of
from migrator.rows.loaded_rows import Choice, Pages, layout_of, read_fields
from migrator.rows.store import RowStore
from migrator.translation.encoder import format_target_id
from migrator.translation.interpreter import rebuild, rebuild_bson, restore_fields
from migrator.translation.restoring import Fields

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
) -> Iterator[tuple[bytes, Row, bytes | None, Fields]]:
    """Yield (source_id, row, residue, fields), like `read_loaded`. `fields`: the columns of the row, not decoded."""
    layout = layout_of(rows, collection)
    for source_id, residue, fields in read_fields(rows, collection, _choose(ids)):
        yield source_id, layout.read_row(fields), residue, fields


def _choose(ids: list[Any] | None) -> Choice | None:
    return None if ids is None else Choice("target_id", ids)


def read_documents(
    rows: RowStore, collection: Collection, ids: list[Any] | None = None
) -> Iterator[tuple[bytes, Row, Document]]:
    """Yield (source_id, row, rebuilt document), like `read_loaded`."""
    for source_id, row, residue in read_loaded(rows, collection, ids):
        yield source_id, row, rebuild_document(collection, source_id, row, residue)


def read_bson(
    rows: RowStore, collection: Collection, ids: list[Any] | Pages | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (source_id, rebuilt document as BSON), like `read_loaded`; with `Pages`, those in a part of the ledger."""
    layout = layout_of(rows, collection)
    for source_id, residue, fields in read_fields(rows, collection, ids if isinstance(ids, Pages) else _choose(ids)):
        raw = layout.rebuild(source_id, fields, residue)
        yield source_id, rebuild_raw(collection, source_id, layout.read_row(fields), residue) if raw is None else raw


def read_bson_safely(
    rows: RowStore, collection: Collection, choice: Choice
) -> Iterator[tuple[bytes, str, bytes | None]]:
    """Yield (source_id, target ID, rebuilt document as BSON) of some rows. The document is None if its row or residue
    is damaged."""
    layout = layout_of(rows, collection)
    for source_id, residue, fields in read_fields(rows, collection, choice):
        raw = layout.rebuild(source_id, fields, residue)
        if raw is None:
            row = layout.read_row(fields)
            with suppress(*DAMAGED):
                raw = rebuild_bson(collection, source_id, row, residue)
        yield source_id, format_target_id(layout.key_of(fields)), raw


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
        table, key = name_of(collection.table), format_target_id(row[collection.key.column])
        raise DifferenceError(
            f"{collection.name}: the document of row {key} in table {table} cannot be rebuilt: the row no longer fits"
            " the residue in the ledger",
            hint=f"Another application has probably changed this row. `migrate verify --only {collection.name} --level"
            " roundtrip` lists all such rows. Restore them, then run the same command again.",
        ) from error
