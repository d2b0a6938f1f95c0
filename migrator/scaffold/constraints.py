"""Indexes and unique constraints of the tables, from the indexes of the source and the references."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from migrator.scaffold.columns import KEY_COLUMN
from migrator.scaffold.draft import ColumnDraft, IndexDraft, Kind, RowsDraft, TableDraft
from migrator.scaffold.indexes import Index
from migrator.scaffold.names import unique_name
from migrator.scaffold.statistics import CollectionStatistics

_LONGEST = 63  # bytes of a name in PostgreSQL
_MOST_COLUMNS = 32  # of an index


def fill_indexes(table: TableDraft, collection: CollectionStatistics) -> None:
    """Add the indexes and unique constraints that have a counterpart in the target. All others become comments."""
    columns = {column.path: column for column in table.columns}
    for index in collection.indexes:
        if index.seconds is not None:
            table.comments.append(
                f"TTL index {index.name}: MongoDB deleted documents {index.seconds:,} s after {', '.join(index.paths)}."
                " PostgreSQL does not."
            )
        _add_index(table, collection, index, columns)
    for rows in (table, *table.descendants):
        for column in rows.references:
            _add(rows, IndexDraft(name="", columns=(column.name,)), table.unique if rows is table else ())


def _add_index(
    table: TableDraft, collection: CollectionStatistics, index: Index, columns: Mapping[str, ColumnDraft]
) -> None:
    paths = [path for path in index.paths if path != "_id" or table.key.path == "_id"]
    names = [
        KEY_COLUMN if path == table.key.path else columns[path].name for path in paths if _has(table, path, columns)
    ]
    found = [columns[path] for path in paths if path in columns]
    if (
        len(names) < len(paths)
        or not index.is_ordered
        or not names
        or names == [KEY_COLUMN]
        or len(names) > _MOST_COLUMNS
    ):
        if names != [KEY_COLUMN]:
            table.questions.append(f"The index `{index.name}` ({', '.join(index.paths)}) has no counterpart.")
        return
    if any(not column.indexable for column in found):
        if len(found) == 1 and found[0].kind in (Kind.LIST, Kind.ARRAY):
            _add(table, IndexDraft(name="", columns=(names[0],), is_gin=True), ())
        else:
            table.questions.append(f"The index `{index.name}` was left out: values are too long, or jsonb.")
        return
    if index.unique and len(names) == 1 and found:
        if _is_unique(collection, found[0]):
            table.unique.append(names[0])
            return
        table.questions.append(f"`{found[0].path}` has a unique index, but values that occur twice: no constraint.")
    directions = [direction for path, direction in index.fields if path in paths]
    mixed = len(set(directions)) > 1
    descending = frozenset(name for name, each in zip(names, directions, strict=True) if mixed and each == -1)
    if index.unique and len(names) > 1:
        table.questions.append(
            f"The index `{index.name}` is unique in the source{' for some documents' if index.partial else ''};"
            " make it unique here if the columns keep the values apart."
        )
    _add(table, IndexDraft(name="", columns=tuple(names), descending=descending), table.unique)


def _has(table: TableDraft, path: str, columns: Mapping[str, ColumnDraft]) -> bool:
    return path in columns or path == table.key.path


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
