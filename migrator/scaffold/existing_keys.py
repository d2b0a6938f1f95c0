"""The keys of tables that exist: which field fills their columns."""

from __future__ import annotations

from dataclasses import replace

from migrator.mapping.key_texts import KINDS
from migrator.scaffold.draft import KEY_COLUMN, KeyDraft, Kind, TableDraft
from migrator.scaffold.existing import ExistingColumn, ExistingTable
from migrator.scaffold.names import squash
from migrator.scaffold.statistics import OBJECT_ID, CollectionStatistics

_KEY_KINDS = {
    "uuid": (None, Kind.UUID),
    "text": (Kind.TEXT, Kind.OBJECT_ID),
    "bigint": (Kind.INTEGER, Kind.LONG),
    "integer": (Kind.INTEGER, Kind.LONG),
}


def choose_existing_key(
    collection: CollectionStatistics, table: TableDraft, existing: ExistingTable
) -> KeyDraft | None:
    """Return the key of a table that exists; None if the keys of the documents do not fit its primary key."""
    if not existing.primary_key:
        return None
    if len(existing.primary_key) > 1:
        return _choose_composite_key(collection, table, existing)
    return _choose_key_column(collection, table, existing.column(existing.primary_key[0]))


def _choose_composite_key(
    collection: CollectionStatistics, table: TableDraft, existing: ExistingTable
) -> KeyDraft | None:
    """Return the key of several columns. The key of the documents fills the column of the same name, if it fits."""
    columns = [existing.column(name) for name in existing.primary_key]
    if any(column.kind not in KINDS for column in columns):
        return None
    same = {KEY_COLUMN, squash(table.key.path)}
    for column in columns:
        if squash(column.name) in same and existing.foreign_key(column.name) is None:
            key = _choose_key_column(collection, table, column)
            if key is not None:
                return replace(key, others=tuple(each.name for each in columns if each is not column))
    return replace(table.key, column="", others=existing.primary_key)


def find_unfilled(table: TableDraft) -> str | None:
    """Return a column of a key of several columns that no field fills."""
    filled = {column.name for column in table.columns}
    return next((name for name in table.key.others if name not in filled), None)


def _choose_key_column(collection: CollectionStatistics, table: TableDraft, column: ExistingColumn) -> KeyDraft | None:
    kind = table.key.kind
    field = collection.find(table.key.path)
    if column.kind == "text" and field is not None and field.count(OBJECT_ID) == field.occurrences:
        kind = Kind.OBJECT_ID
    if kind not in _KEY_KINDS.get(column.kind or "", ()):
        return None
    codec = "INTEGER" if column.kind == "integer" else ""
    return replace(table.key, kind=kind, column=column.name, codec=codec)
