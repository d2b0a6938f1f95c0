"""Indexes and unique constraints of the tables, from the indexes of the source and the references."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from migrator.mapping.codecs import INDEXABLE_BYTES
from migrator.scaffold.draft import KEY_COLUMN, ColumnDraft, IndexDraft, Kind, RowsDraft, TableDraft
from migrator.scaffold.indexes import Index
from migrator.scaffold.names import unique_name
from migrator.scaffold.statistics import CollectionStatistics

_LONGEST = 63  # bytes of a name in PostgreSQL
_MOST_COLUMNS = 32  # of an index


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path of an index is: the table, and the column; None: the key of the table."""

    rows: RowsDraft
    column: ColumnDraft | None

    @property
    def name(self) -> str:
        return KEY_COLUMN if self.column is None else self.column.name


def fill_indexes(table: TableDraft, collection: CollectionStatistics) -> None:
    """Add the indexes and unique constraints that have a counterpart in the target. All others become questions."""
    places = {table.key.path: _Place(table, None), **_find_places(table, "")}
    for index in collection.indexes:
        if index.seconds is not None:
            table.comments.append(
                f"TTL index {index.name}: MongoDB deleted documents {index.seconds:,} s after {', '.join(index.paths)}."
                " PostgreSQL does not."
            )
        if (problem := _add_index(table, collection, index, places)) is not None:
            table.questions.append(f"The index `{index.name}` ({', '.join(index.paths)}) {problem}.")
    for rows in (table, *table.descendants):
        for column in rows.references:
            _add(rows, IndexDraft(name="", columns=(column.name,)), table.unique if rows is table else ())


def _find_places(rows: RowsDraft, prefix: str) -> dict[str, _Place]:
    places = {f"{prefix}{column.path}": _Place(rows, column) for column in rows.columns}
    for child in rows.children:
        if child.is_junction:
            places[f"{prefix}{child.path}"] = _Place(child, child.columns[0])
        else:
            places |= _find_places(child, f"{prefix}{child.path}.")
    return places


def _add_index(
    table: TableDraft, collection: CollectionStatistics, index: Index, places: Mapping[str, _Place]
) -> str | None:
    """Add an index of the source. Return what a person should know about it; None if it is the same in the target."""
    fields = [(path, way) for path, way in index.fields if path != "_id" or table.key.path == "_id"]
    found = [places[path] for path, _ in fields if path in places]
    if len(found) < len(fields) or not found or not index.is_ordered or len(found) > _MOST_COLUMNS:
        return "has no counterpart"
    rows = found[0].rows
    columns = [place.column for place in found if place.column is not None]
    if any(place.rows is not rows for place in found):
        return "has no counterpart: its fields are in several tables"
    if not columns:
        return None  # the primary key
    if len(columns) == 1 and columns[0].kind in (Kind.LIST, Kind.ARRAY):
        _add(rows, IndexDraft(name="", columns=(columns[0].name,), is_gin=True), ())
        return None
    if not all(column.indexable for column in columns) or sum(each.longest for each in columns) > INDEXABLE_BYTES:
        return "was left out: values are too long, or jsonb"
    names = tuple(place.name for place in found)
    if index.unique and rows is table and len(names) == 1 and _is_unique(collection, columns[0]):
        table.unique.append(names[0])
        return None
    is_mixed = len({way for _, way in fields}) > 1
    descending = frozenset(name for name, (_, way) in zip(names, fields, strict=True) if is_mixed and way == -1)
    _add(rows, IndexDraft(name="", columns=names, descending=descending), table.unique if rows is table else ())
    if not index.unique:
        return None
    if len(names) == 1 and rows is table:
        return "is unique in the source, but values occur twice: it is not unique here"
    some = " for some documents" if index.partial else ""
    return f"is unique in the source{some}: make it unique here if the columns keep the values apart"


def _is_unique(collection: CollectionStatistics, column: ColumnDraft) -> bool:
    """Return whether all values are distinct, and are so as values of the column."""
    field = collection.find(*column.path.split("."))
    if field is None or column.note or not field.values.kept:
        return False
    return field.values.level > 0 or field.values.distinct == field.filled


def _add(table: RowsDraft, index: IndexDraft, unique: Collection[str]) -> None:
    """Add an index with a name of its own, unless one with the same columns, or a constraint, exists."""
    same = any(each.columns == index.columns and each.descending == index.descending for each in table.indexes)
    if same or (len(index.columns) == 1 and index.columns[0] in unique):
        return
    name = f"{table.table}_{'_'.join(index.columns)}_idx"
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 8]}_idx"
    taken = {each.name for each in table.indexes}
    table.indexes.append(
        IndexDraft(
            name=unique_name(name, taken), columns=index.columns, descending=index.descending, is_gin=index.is_gin
        )
    )
