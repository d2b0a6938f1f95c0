"""References in rows and in their elements to rows whose documents have an `_id` of their own. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.references import Reference
from migrator.translation.encoder import format_target_id

Mappings = Mapping[str, Collection]
References = list[tuple[str, str]]  # column, collection that it refers to
Wanted = dict[str, dict[str, Any]]  # collection → ID as text → ID
Aliases = Mapping[tuple[str, str], Any]  # collection, ID as text → ID that its document gives


def as_document(mappings: Mappings, collection: Collection, row: Row, aliases: Aliases) -> Row:
    """Return a row with the IDs that documents use."""
    changed = _replace(row, _references(mappings, collection), aliases)
    for rule in collection.children:
        changed[rule.row_key] = _replace_in_elements(rule, row.get(rule.row_key, []), aliases)
    return changed


def _replace(row: Row, references: References, aliases: Aliases) -> Row:
    changed = dict(row)
    for name, there in references:
        value = row.get(name)
        if value is not None:
            changed[name] = aliases.get((there, format_target_id(value)), value)
    return changed


def _replace_in_elements(rule: Children, rows: Iterable[Row], aliases: Aliases) -> list[Row]:
    references = _columns_of(rule.rules)
    changed = [_replace(row, references, aliases) for row in rows]
    for row in changed:
        for nested in rule.nested:
            row[nested.row_key] = _replace_in_elements(nested, row[nested.row_key], aliases)
    return changed


def find_references(mappings: Mappings, collection: Collection, rows: Iterable[Row]) -> Wanted:
    """Return the IDs that rows and their elements refer to."""
    wanted: Wanted = defaultdict(dict)
    references = _references(mappings, collection)
    for row in rows:
        _collect(row, references, wanted)
        for rule in collection.children:
            _collect_in_elements(rule, row.get(rule.row_key, ()), wanted)
    return wanted


def _collect(row: Row, references: References, wanted: Wanted) -> None:
    for name, there in references:
        value = row.get(name)
        if value is not None:
            wanted[there][format_target_id(value)] = value


def _collect_in_elements(rule: Children, rows: Iterable[Row], wanted: Wanted) -> None:
    references = _columns_of(rule.rules)
    for row in rows:
        _collect(row, references, wanted)
        for nested in rule.nested:
            _collect_in_elements(nested, row[nested.row_key], wanted)


def _references(mappings: Mappings, collection: Collection) -> References:
    """Return the columns, also carried ones, that refer to rows whose documents are named by their `_id`."""
    carried = [
        (name, other)
        for name, _, there, column in collection.carried_columns
        for at, other in _columns_of(mappings[there].rules)
        if at == column
    ]
    return [*_columns_of(collection.rules), *carried]


def _columns_of(rules: Iterable[Any]) -> References:
    return [
        (rule.column, rule.key.collection) for rule in rules if isinstance(rule, Reference) and rule.key.path == "_id"
    ]
