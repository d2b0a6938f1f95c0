"""Merges the change of a row into a document: `before ⊕ (fields(new row) − fields(old row))`. Pure functions.

What the row does not restore stays as it is in the document. A document can have a value in another form than the row
would restore it; so several merged documents are proposed, and the forward translation decides which one is right.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from migrator.documents.codec import Document, same
from migrator.documents.residue import changes_of
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.context import ABSENT, Row
from migrator.mapping.json_objects import JsonObject
from migrator.mapping.references import MemberList, Reference, UncheckedReference
from migrator.mapping.rules import Compute, Field, Implied, Variants
from migrator.reversing import element_merge
from migrator.reversing.equality import equal
from migrator.translation.interpreter import restore_fields

Restore = Callable[[Collection, Row], Document]


def propose(
    collection: Collection,
    document: Document,
    residue: bytes | None,
    old: Row,
    new: Row,
    restore: Restore = restore_fields,
) -> Iterator[Document]:
    """Yield merged documents, the least changed first. `document` is that of the row `old` with its residue.

    `restore` returns the fields that a row restores, in a new document.
    """
    changed = {name for name in new if name not in old or not equal(new[name], old[name])}
    for number, merged in enumerate(_merged(collection, document, residue, old, new, changed, restore)):
        combine = override if number else merge
        with_elements = element_merge.set_fields(collection.children, merged, document, old, new, combine)
        yield from complete(collection, _with_lists(collection, with_elements, document, old, new), new, changed)


def create(collection: Collection, source_id: Document, row: Row) -> Iterator[Document]:
    """Yield documents of a row that had none."""
    yield from complete(collection, {**source_id, **restore_fields(collection, row)}, row, set(row))


def _merged(
    collection: Collection,
    document: Document,
    residue: bytes | None,
    old: Row,
    new: Row,
    changed: set[str],
    restore: Restore,
) -> Iterator[Document]:
    base, mine = _fields(collection, old, residue, restore), _fields(collection, new, residue, restore)
    yield merge(document, base, mine)
    rules = [rule for rule in collection.rules if changed & inputs_of(rule)]
    restored = {name for rule in rules for name in rule.restored_fields}
    plain = _without_rows(collection, restore(collection, new))
    forced = override(document, _only(base, restored), _only(plain, restored))
    forced = merge(forced, _without(base, restored), _without(mine, restored))
    yield forced
    others = {path for rule in rules for path in rule.source_paths} - collection.restored_fields
    yield _drop_paths(forced, others)


def complete(collection: Collection, merged: Document, row: Row, changed: set[str]) -> Iterator[Document]:
    """Yield a merged document, and the same one with the fields that `Collection.returns` sets."""
    yield merged
    rules = [rule for rule in collection.returns if changed & set(rule.columns)]
    if rules:
        completed = copy.deepcopy(merged)
        for rule in rules:
            rule.function(completed, row)
        yield completed


def merge(document: Document, old: Document, new: Document) -> Document:
    """Return a document with the differences between `old` and `new`. Embedded documents are merged, too."""
    merged = dict(document)
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        if before is not ABSENT and after is not ABSENT and same(before, after):
            continue
        present = merged.get(name)
        if type(before) is dict and type(after) is dict and type(present) is dict:
            merged[name] = merge(present, before, after)
        elif after is not ABSENT:
            merged[name] = after
        else:
            merged.pop(name, None)
    return merged


def override(document: Document, old: Document, new: Document) -> Document:
    """Return a document that has all values of `new`, and none that only `old` has."""
    merged = dict(document)
    for name in old:
        if name not in new:
            merged.pop(name, None)
    for name, value in new.items():
        present = merged.get(name)
        if type(value) is dict and type(present) is dict and type(old.get(name)) is dict:
            merged[name] = override(present, old[name], value)
        else:
            merged[name] = value
    return merged


def inputs_of(rule: Rule) -> frozenset[str]:
    """Return the columns from which a rule restores its fields."""
    match rule:
        case Field() | UncheckedReference() | Reference():
            return frozenset({rule.column})
        case JsonObject():
            return frozenset({rule.column, *rule.restore_by})
        case Implied() | Variants():
            return frozenset(rule.inputs)
        case Compute():
            return frozenset({*rule.columns, *rule.reverse_inputs})
        case MemberList():
            return frozenset()
        case _:
            return frozenset(rule.columns)


def _fields(collection: Collection, row: Row, residue: bytes | None, restore: Restore) -> Document:
    """Return the fields that a row restores in the forms that its document has, without those of several rows."""
    fields = restore(collection, row)
    variants, remainders, _ = changes_of(residue)
    for rule in collection.variant_rules if variants or remainders else ():
        if isinstance(rule, Children):
            continue
        if rule.path in variants:
            rule.set_variant(variants[rule.path], row, fields)
        elif rule.path in remainders:
            rule.set_remainder(remainders[rule.path], row, fields)
    return _without_rows(collection, fields)


def _without_rows(collection: Collection, fields: Document) -> Document:
    for path in [rule.path for rule in collection.member_lists] + [rule.path for rule in collection.children]:
        fields.pop(path, None)
    return fields


def _with_lists(collection: Collection, merged: Document, document: Document, old: Row, new: Row) -> Document:
    for rule in collection.member_lists:
        listed = document.get(rule.path)
        before, after = old.get(rule.row_key, []), new.get(rule.row_key, [])
        if type(listed) is list and before != after:
            merged[rule.path] = change_list(listed, before, after)
    return merged


def change_list(listed: list[Any], old: list[Any], new: list[Any]) -> list[Any]:
    """Return a list with the members of `new` that `old` lacks, and without those that `new` lacks."""
    if listed == old:
        return list(new)
    gone, known = set(old) - set(new), set(old)
    kept = [each for each in listed if not _is_in(each, gone)]
    return [*kept, *(each for each in new if each not in known and each not in kept)]


def _is_in(value: Any, members: set[Any]) -> bool:
    try:
        return value in members
    except TypeError:
        return False  # not hashable: no member


def _only(fields: Document, names: set[str]) -> Document:
    return {name: value for name, value in fields.items() if name in names}


def _without(fields: Document, names: set[str]) -> Document:
    return {name: value for name, value in fields.items() if name not in names}


def _drop_paths(document: Document, paths: Iterable[str]) -> Document:
    """Return a document without the values at some dotted paths."""
    found = dict(document)
    for path in paths:
        name, _, rest = path.partition(".")
        if not rest:
            found.pop(name, None)
        elif type(found.get(name)) is dict:
            found[name] = _drop_paths(found[name], [rest])
    return found
