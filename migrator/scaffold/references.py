"""Finds references by inclusion: the distinct values of a field are looked up in the `_id`s and unique fields of all
collections. Names decide only between several candidates, and for values that are not IDs by their form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migrator.scaffold.names import has_id_ending, is_named_after
from migrator.scaffold.profiling import SourceStatistics
from migrator.scaffold.sketch import compare
from migrator.scaffold.statistics import (
    ARRAY,
    BINARY,
    INT32,
    INT64,
    OBJECT,
    OBJECT_ID,
    STRING,
    CollectionStatistics,
    FieldStatistics,
    Path,
    dotted,
)

SURE = 0.98  # of the distinct values exist: a foreign key
LIKELY = 0.5  # of distinct IDs exist: a reference with many orphans, because other IDs would not be found at all
LIKELY_IF_NAMED = 0.2  # the same for a field with the name of the collection
_TOLERANCE = 0.1  # candidates whose share of hits is less than this below the best one are compared by their names
_UNIQUE_BY_INDEX, _UNIQUE_BY_VALUES = 0.9, 0.99  # distinct values per document: a key with dirt, a key without an index
_FIRST = 64  # values that are compared first: without any hit, hardly a fifth of all values can exist
_LONGEST_KEY = 64
_LARGE = 100_000  # whole numbers from here on are no counters: equal ones are no coincidence
_FEW = 5  # distinct values


@dataclass(frozen=True, slots=True)
class KeyField:
    """A field whose values identify the documents of a collection. `indexed`: a unique index begins with it."""

    collection: CollectionStatistics
    field: FieldStatistics
    indexed: bool

    @property
    def is_id(self) -> bool:
        return self.field.path == ("_id",)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundReference:
    """A field whose values are in a key. `compared` distinct values were looked up, and `hits` of them found.

    `is_exact`: all distinct values were compared, otherwise a sample. `is_id`: the values are IDs by their form.
    """

    collection: str
    path: Path
    target: str
    target_path: Path
    compared: int
    hits: int
    is_exact: bool
    is_id: bool
    is_named: bool

    @property
    def share(self) -> float:
        return self.hits / self.compared

    @property
    def is_sure(self) -> bool:
        """Whether so many values exist that it becomes a foreign key."""
        return self.share >= SURE

    @property
    def is_list(self) -> bool:
        return "[]" in self.path

    def __str__(self) -> str:
        return f"{self.collection}.{dotted(self.path)} → {self.target}.{dotted(self.target_path)}"


Candidate = tuple[FoundReference, KeyField]


def find_references(source: SourceStatistics) -> list[FoundReference]:
    """Return the references between the fields of all collections, at most one for each field."""
    keys = [key for collection in source.collections for key in find_keys(collection)]
    keys = [key for key in keys if not _is_reference(key, keys)]
    candidates = [
        found
        for collection in source.collections
        for field in collection.walk()
        if field.values.kept and field.path != ("_id",) and (found := _find_candidates(collection, field, keys))
    ]
    # Documents of two collections can have the same `_id`s: most references name the right one.
    votes = Counter(id(key) for found in candidates for reference, key in found if reference.is_named)
    return [_choose(found, votes) for found in candidates]


def find_keys(collection: CollectionStatistics) -> Iterator[KeyField]:
    """Yield the fields that identify the documents of a collection: `_id`, and fields with unique values."""
    indexed = {index.paths[0] for index in collection.indexes if index.unique}
    alone = {index.paths[0] for index in collection.indexes if len(index.paths) == 1}
    for field in collection.fields:
        if not field.values.kept or field.count(OBJECT, ARRAY) or field.longest > _LONGEST_KEY:
            continue
        if field.path == ("_id",):
            yield KeyField(collection, field, indexed=True)
            continue
        unique = field.values.distinct / field.filled
        is_full = field.documents >= _UNIQUE_BY_INDEX * collection.documents
        if field.name in indexed and unique >= _UNIQUE_BY_INDEX:
            yield KeyField(collection, field, indexed=True)
        elif not is_full or not (has_id_ending(field.name) or _holds_ids(field)):
            continue
        elif unique >= _UNIQUE_BY_VALUES or (
            unique >= _UNIQUE_BY_INDEX and field.name in alone and is_named_after(field.name, collection.name)
        ):
            yield KeyField(collection, field, indexed=False)


def _is_reference(key: KeyField, keys: Sequence[KeyField]) -> bool:
    """Return whether a key refers to another one, such as the user of a balance: it is not what others refer to."""
    if key.is_id:
        return False
    for other in keys:
        if other.collection is key.collection or not (
            other.is_id or other.field.values.distinct > key.field.values.distinct
        ):
            continue
        if not compare(key.field.values, other.field.values, _FIRST)[1]:
            continue
        compared, hits = compare(key.field.values, other.field.values)
        if compared and hits >= LIKELY * compared and _holds_ids(key.field):
            return True
    return False


def _find_candidates(
    collection: CollectionStatistics, field: FieldStatistics, keys: Sequence[KeyField]
) -> list[Candidate]:
    """Return the keys in which the values of a field are."""
    candidates = []
    for key in keys:
        if key.field is field or _copies_key(collection, field, key):
            continue
        if not compare(field.values, key.field.values, _FIRST)[1]:
            continue
        compared, hits = compare(field.values, key.field.values)
        reference = FoundReference(
            collection=collection.name,
            path=field.path,
            target=key.collection.name,
            target_path=key.field.path,
            compared=compared,
            hits=hits,
            is_exact=not (field.values.level or key.field.values.level),
            is_id=_holds_ids(field) or (key.is_id and _holds_large_numbers(field)),
            is_named=_is_named(field, key),
        )
        likely = LIKELY_IF_NAMED if reference.is_named else LIKELY
        if reference.share >= likely if reference.is_id else reference.is_sure and reference.is_named:
            candidates.append((reference, key))
    return candidates


def _choose(candidates: list[Candidate], votes: Counter[int]) -> FoundReference:
    best = max(reference.share for reference, _ in candidates)
    close = [each for each in candidates if each[0].share >= best - _TOLERANCE]

    def rank(candidate: Candidate) -> tuple[bool, int, bool, bool, float, int]:
        reference, key = candidate
        return (
            reference.is_named,
            votes[id(key)],
            key.is_id,
            key.indexed,
            reference.share,
            key.field.values.distinct,
        )

    return max(close, key=rank)[0]


def _copies_key(collection: CollectionStatistics, field: FieldStatistics, key: KeyField) -> bool:
    """Return whether a field holds a copy of its own document's key."""
    if key.collection is not collection:
        return False
    is_unique = field.parent is None and field.values.distinct >= _UNIQUE_BY_VALUES * collection.documents
    return _own_name(field) == key.field.name or (is_unique and field.documents == collection.documents)


def _own_name(field: FieldStatistics) -> str:
    """Return the last name of a path that is not `[]`."""
    return next((name for name in reversed(field.path) if name not in ("[]", "*")), "")


def _is_named(field: FieldStatistics, key: KeyField) -> bool:
    name = _own_name(field)
    return is_named_after(name, key.collection.name) or (name == key.field.name and has_id_ending(name))


def _holds_large_numbers(field: FieldStatistics) -> bool:
    """Return whether all values are numbers that no other field has by chance."""
    return field.count(INT32, INT64) == field.filled and field.least >= _LARGE and field.values.distinct >= _FEW


def _holds_ids(field: FieldStatistics) -> bool:
    """Return whether nearly all values are IDs by their form: equal ones are no coincidence."""
    others = field.count(STRING, INT32, INT64, BINARY) + field.count(OBJECT_ID) - field.empty
    ids = field.count(OBJECT_ID) + field.object_id_texts + field.uuid_texts + field.id_texts
    return others > 0 and ids >= 0.5 * others
