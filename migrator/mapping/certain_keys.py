"""Keys of rows of elements that no documents can violate: the migration gives their values, not the documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.postgres.table_names import name_of

CertainKeys = dict[str, tuple[frozenset[str], ...]]  # table → sets of columns that never have the same values twice


def certain_keys(mappings: Iterable[Collection]) -> CertainKeys:
    """Return the certain keys of the tables of elements. Only one rule may fill a table: two can give the same values.

    The key of the parent is unique: it is the primary key of its table, or certain itself.
    """
    mappings = list(mappings)
    filled = Counter(name for mapping in mappings for name in mapping.table_names)
    rules = {name_of(rule.table): rule for mapping in mappings for rule in mapping.child_rules}
    return {name: tuple(_keys_of(rule)) for name, rule in rules.items() if filled[name] == 1}


def _keys_of(rule: Children) -> Iterable[frozenset[str]]:
    """Yield the key of an element, and that of its parent with its place: without places, a parent has one element."""
    if rule.key is not None:
        yield frozenset({rule.key})
    yield frozenset(rule.parent_columns) | (frozenset() if rule.position is None else {rule.position})
