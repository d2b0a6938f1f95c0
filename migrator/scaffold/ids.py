"""Keys of tables, and columns with the keys of other tables: foreign keys, IDs that need not exist, arrays of IDs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from migrator.mapping.children import VALUE
from migrator.mapping.codecs import INDEXABLE_BYTES
from migrator.scaffold.draft import ColumnDraft, KeyDraft, Kind, Restore
from migrator.scaffold.names import has_id_ending, singular, snake_case
from migrator.scaffold.references import FoundReference
from migrator.scaffold.scope import Scope, is_common_array
from migrator.scaffold.statistics import (
    ARRAY,
    BINARY,
    INT32,
    INT64,
    OBJECT_ID,
    STRING,
    CollectionStatistics,
    FieldStatistics,
    dotted,
)

_MOST = 0.5  # of the values have the form in which an ID is restored, otherwise it gets an ordinary column


@dataclass(frozen=True, slots=True)
class Target:
    """The table to which a field refers: its key, the reference that was found, and whether it is a foreign key.

    `is_complete`: certainly every document of the table has a row.
    """

    key: KeyDraft
    reference: FoundReference
    is_key: bool
    is_complete: bool


def is_complete(collection: CollectionStatistics) -> bool:
    """Return whether certainly every document gets a row: none is damaged, none has the `_id` of another one."""
    field = collection.find("_id")
    is_distinct = field is not None and (field.values.level > 0 or field.values.distinct == collection.documents)
    return is_distinct and not collection.damaged


def choose_key(collection: CollectionStatistics, references: Iterable[FoundReference]) -> KeyDraft:
    """Return the key: the field that others refer to if it identifies every document, otherwise `_id`."""
    named = [each for each in references if each.target == collection.name and not each.is_list]
    paths = {dotted(each.target_path) for each in named if each.is_id}
    for path in sorted(paths):
        field = collection.find(path)
        if "_id" in paths or field is None or not _identifies(collection, field):
            continue
        votes = sum(dotted(each.target_path) == path for each in named)
        kind = None if field.uuid_texts == field.filled else Kind.TEXT
        return KeyDraft(path=path, kind=kind, evidence=f"{votes} fields refer to it; it is in every document once")
    field = collection.find("_id")
    kind = None if field is None or collection.damaged else _kind_of_id(field)
    types = "no values" if field is None else field.describe_types()
    return KeyDraft(path="_id", kind=kind, evidence=types)


def _kind_of_id(field: FieldStatistics) -> Kind | None:
    """Return the kind of an `_id` that the column can hold; None: a UUID is made of it, as of every ObjectId."""
    if field.count(INT32, INT64) == field.occurrences:
        return Kind.LONG if field.count(INT64) > field.count(INT32) else Kind.INTEGER
    if field.count(BINARY) == field.uuid_texts == field.occurrences:
        return Kind.UUID
    return Kind.TEXT if _is_plain_text(field) and field.uuid_texts < field.occurrences else None


def _identifies(collection: CollectionStatistics, field: FieldStatistics) -> bool:
    """Return whether each document has another text in a field."""
    return (
        field.documents == collection.documents == field.occurrences
        and not collection.damaged
        and _is_plain_text(field)
        and (field.values.level > 0 or field.values.distinct == collection.documents)
    )


def _is_plain_text(field: FieldStatistics) -> bool:
    is_text = field.count(STRING) == field.occurrences
    return is_text and not (field.empty or field.nul) and field.longest <= INDEXABLE_BYTES


def draft_id(field: FieldStatistics, scope: Scope, target: Target) -> ColumnDraft | None:
    """Return the column for a field with keys of another table; None if they have several forms."""
    is_list = field.count(ARRAY) > 0
    values = field.elements if is_list else field
    if values is None or (is_list and field.count(ARRAY) != field.filled):
        return None
    restore, count = find_form(values, target.key)
    if count < _MOST * values.filled:
        return None
    reference = target.reference
    lost = reference.compared - reference.hits
    is_key = target.is_key and not is_list
    is_filled = field.filled == field.occurrences == scope.present(field) == scope.objects and not lost
    orphans = f"; {lost:,} distinct values without a document" if lost else ""
    return ColumnDraft(
        name=_name_ids(field.name) if is_list else _name_id(field.name),
        path=dotted(scope.relative(field)),
        kind=Kind.ARRAY if is_list else Kind.ID,
        item=Kind.ID if is_list else None,
        required=is_key and target.is_complete and is_filled and reference.is_exact and scope.can_require(field),
        evidence=f"{reference.hits:,} of {reference.compared:,} distinct values exist in"
        f" {reference.target}.{dotted(reference.target_path)}{orphans}; {field.describe_types()}",
        note=f"{lost:,} of {reference.compared:,} distinct values have no document" if lost else "",
        indexable=not is_list,
        restores_null=not target.is_key and field.occurrences - field.filled > scope.objects - scope.present(field),
        target=reference.target,
        restore=restore,
        is_key=is_key,
    )


def draft_junction(field: FieldStatistics, scope: Scope, target: Target) -> ColumnDraft | None:
    """Return the column with an ID, if the elements of an array become rows between two tables; otherwise None."""
    values = field.elements
    if values is None or not target.is_key or not is_common_array(field, scope) or values.filled != values.occurrences:
        return None
    found = draft_id(field, scope, target)
    if found is None:
        return None
    name = _name_id(singular(snake_case(field.name)))
    return replace(found, name=name, path=VALUE, kind=Kind.ID, item=None, required=True, indexable=True, is_key=True)


def find_form(values: FieldStatistics, key: KeyDraft) -> tuple[Restore, int]:
    """Return the most frequent form of keys in documents, and the number of values that have it."""
    if key.kind in (Kind.INTEGER, Kind.LONG):
        forms = {Restore.INTEGER: values.count(INT32), Restore.LONG: values.count(INT64)}
    elif key.kind is Kind.UUID:
        forms = {Restore.UUID: values.count(BINARY)}
    elif key.kind is Kind.OBJECT_ID:
        forms = {Restore.OBJECT_ID_TEXT: values.count(OBJECT_ID), Restore.TEXT: values.object_id_texts}
    elif key.kind is Kind.TEXT:
        forms = {Restore.TEXT: values.count(STRING)}
    else:
        texts = {Restore.HEX: values.object_id_texts, Restore.UUID_TEXT: values.uuid_texts}
        forms = {Restore.OBJECT_ID: values.count(OBJECT_ID), **texts}
    restore = max(forms, key=lambda each: forms[each])
    return restore, forms[restore]


def _name_id(field: str) -> str:
    name = snake_case(field)
    return name if name.endswith("_by") or has_id_ending(field) else f"{name}_id"


def _name_ids(field: str) -> str:
    name = snake_case(field)
    return name if name.endswith("_ids") else f"{singular(name)}_ids"
