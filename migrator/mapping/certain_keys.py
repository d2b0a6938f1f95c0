"""Keys that are not needed during the load, so that the target can get them after it (`postgres/late_keys.py`).

Those of rows of elements, which no documents can violate: the migration gives their values, not the documents. Those of
rows of documents that no document refers to: only reconciliation, after the load, finds these rows by their keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from migrator.mapping.children import Children
from migrator.mapping.codecs import INDEXABLE_BYTES
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.postgres.table_names import name_of

OF_FIXED_SIZE = frozenset({
    "boolean", "smallint", "integer", "bigint", "real", "double precision", "uuid", "date", "time", "timestamp",
    "timestamptz",
})  # fmt: skip
CertainKeys = dict[str, tuple[frozenset[str], ...]]  # table → sets of columns that never have the same values twice


class DocumentKey(NamedTuple):
    """The columns of the key of documents, and the tables that these documents fill: their own one, then the others."""

    columns: frozenset[str]
    tables: tuple[str, ...]


def certain_keys(mappings: Iterable[Collection]) -> CertainKeys:
    """Return the certain keys of the tables of elements. Only one rule may fill a table: two can give the same values.

    The key of the parent is unique: it is the primary key of its table, or certain itself.
    """
    mappings = list(mappings)
    filled = _count_filling(mappings)
    rules = {name_of(rule.table): rule for mapping in mappings for rule in mapping.child_rules}
    return {name: tuple(_keys_of(rule)) for name, rule in rules.items() if filled[name] == 1}


def _keys_of(rule: Children) -> Iterable[frozenset[str]]:
    """Yield the key of an element, and that of its parent with its place: without places, a parent has one element."""
    if rule.key is not None:
        yield frozenset({rule.key})
    yield frozenset(rule.parent_columns) | (frozenset() if rule.position is None else {rule.position})


def unread_keys(mappings: Iterable[Collection]) -> list[DocumentKey]:
    """Return the keys of documents that no document refers to. Only one mapping may fill their tables.

    Nor may a column be unique: the load would look for rows with the same values, and with the same keys. Nor may a key
    be too long for an index: the load rejects its document, while an index with it cannot be made.
    """
    mappings = list(mappings)
    filled = _count_filling(mappings)
    needed = {name for mapping in mappings for name in mapping.needs}
    return [
        DocumentKey(frozenset(mapping.key.key_columns), mapping.table_names)
        for mapping in mappings
        if mapping.name not in needed
        and not mapping.unique
        and all(filled[name] == 1 for name in mapping.table_names)
        and _is_indexable(mapping)
    ]


def _is_indexable(mapping: Collection) -> bool:
    """Return whether an index can have every value of the key."""
    key = mapping.key
    if isinstance(key, CompositeKey):
        return True  # it limits its length
    if key.text and not any(key.column in rule.columns for rule in mapping.rules):
        return key.most <= INDEXABLE_BYTES
    return dict(mapping.kinds).get(key.column) in OF_FIXED_SIZE


def _count_filling(mappings: Iterable[Collection]) -> Counter[str]:
    """Return how many rules fill each table."""
    return Counter(name for mapping in mappings for name in mapping.table_names)
