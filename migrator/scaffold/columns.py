"""Decides which columns the fields of a collection fill. What gets no column is kept in the residue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from migrator.scaffold.draft import ColumnDraft, ImpliedDraft, Kind, TableDraft
from migrator.scaffold.ids import Target, can_require, draft_id
from migrator.scaffold.kinds import decide_kind, is_indexable
from migrator.scaffold.names import snake_case, unique_name
from migrator.scaffold.shapes import describe_shape, is_flat
from migrator.scaffold.statistics import ARRAY, INT32, OBJECT, CollectionStatistics, FieldStatistics, Path, dotted

KEY_COLUMN = "id"
VERSION = "__v"  # Mongoose's counter of changes to arrays
MOST_COLUMNS = 200  # of one table; rarer fields stay in the residue


def fill_columns(table: TableDraft, collection: CollectionStatistics, targets: Mapping[Path, Target]) -> None:
    """Add the columns and implied fields to a table. `targets`: those of fields, and of the items of arrays."""
    found: list[ColumnDraft | ImpliedDraft] = []
    for field in _ordered(collection, table):
        target = targets.get(field.path) or targets.get((*field.path, "[]"))
        if target is not None and (column := draft_id(field, collection, target)) is not None:
            found.append(column)
        elif (implied := _find_implied(field, collection)) is not None:
            found.append(implied)
        elif field.filled == 0:
            table.questions.append(f"`{field.name}` is always null or undefined: it has no column.")
        elif is_flat(field):
            found += [_draft_column(child, collection) for child in field.fields]
            table.questions.append(f"`{field.name}` is {describe_shape(field)}: its fields became columns.")
        else:
            found.append(column := _draft_column(field, collection))
            if column.kind.is_json and field.count(OBJECT, ARRAY):
                table.questions.append(f"`{field.name}` is {describe_shape(field)}: it became one jsonb column.")
    _add(table, found)


def _ordered(collection: CollectionStatistics, table: TableDraft) -> Iterator[FieldStatistics]:
    """Yield the fields that can have a column, in the order of the documents."""
    usable = [field for field in collection.fields if field.path not in (("_id",), (table.key.path,))]
    frequent = set(sorted((-field.documents, number) for number, field in enumerate(usable))[:MOST_COLUMNS])
    for number, field in enumerate(usable):
        if not field.name or "." in field.name or field.name == "*":
            table.questions.append(f"`{field.name}` cannot be a path of a rule: it stays in the residue.")
        elif (-field.documents, number) in frequent:
            yield field
        else:
            table.questions.append(f"`{field.name}` is in {field.documents:,} documents only: it stays in the residue.")


def _find_implied(field: FieldStatistics, collection: CollectionStatistics) -> ImpliedDraft | None:
    """Return the rule of a field that always has the same value and tells nothing."""
    if field.documents * 2 <= collection.documents:
        return None
    if field.name == VERSION and field.sample_type == INT32 and field.sample is not None:
        value, share = int.from_bytes(field.sample, "little", signed=True), field.same / field.occurrences
        return ImpliedDraft(path=field.name, value=str(value), evidence=f"{value} in {share:.1%} of its documents")
    if field.filled == 0 and field.types.keys() == {0x0A}:
        return ImpliedDraft(path=field.name, value="None", evidence="always null")
    if field.count(ARRAY) == field.occurrences == field.empty:
        return ImpliedDraft(path=field.name, value="[]", evidence="always an empty array")
    return None


def _draft_column(field: FieldStatistics, collection: CollectionStatistics) -> ColumnDraft:
    decided = decide_kind(field)
    absent = collection.documents - field.documents
    nulls = field.occurrences - field.filled
    evidence = f"{field.describe_types()} in {field.documents:,} of {collection.documents:,} documents"
    return ColumnDraft(
        name=snake_case("_".join(field.path)),
        path=dotted(field.path),
        kind=decided.kind,
        required=decided.is_uniform and not absent and not nulls and can_require(collection),
        evidence=evidence + _describe_values(field, decided.kind),
        note=decided.note,
        item=decided.item,
        indexable=is_indexable(decided.kind, field),
        restores_null=nulls > absent,
    )


def _describe_values(field: FieldStatistics, kind: Kind) -> str:
    if not field.values.kept or kind.is_json:
        return ""
    about = "about " if field.values.level else ""
    return f"; {about}{field.values.distinct:,} distinct values"


def _add(table: TableDraft, found: list[ColumnDraft | ImpliedDraft]) -> None:
    taken = {KEY_COLUMN}
    for each in found:
        if isinstance(each, ImpliedDraft):
            table.implied.append(each)
            continue
        name = unique_name(f"{table.module}_{each.name}" if each.name == KEY_COLUMN else each.name, taken)
        if each.name in taken and each.name != KEY_COLUMN:
            table.questions.append(f"`{each.path}` would have the name of another column: is it the same field?")
        taken.add(name)
        table.columns.append(replace(each, name=name))
