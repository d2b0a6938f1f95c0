"""Merges changed rows of elements into a field, element by element. Pure functions.

An element belongs to its row, wherever that is moved. Elements without a row stay, in the places that no row takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from migrator.documents.codec import Document, same
from migrator.mapping.children import Children
from migrator.mapping.context import ABSENT, Row
from migrator.reversing.element_rows import IDENTITY
from migrator.reversing.equality import equal

Combine = Callable[[Document, Document, Document], Document]  # document, what the old row restores, and the new one


class _Item(NamedTuple):
    name: str
    element: Any


def merge_field(rule: Children, value: Any, old: Sequence[Row], new: Sequence[Row], combine: Combine) -> Any:
    """Return the value of a field with the changes of its rows; ABSENT: the document does not have it.

    `value` is what the document has, and `old` the rows of it.
    """
    items, loose = _read(rule, value, old)
    merged: dict[int, _Item] = {}
    for place, row in rule.placed(new).items():
        name, restored = rule.restore_element(row)
        before = items.get(row[IDENTITY])
        merged[place] = _Item(name, restored if before is None else _combine(rule, *before, row, combine))
    return _compose(rule, value, merged, loose)


def _read(rule: Children, value: Any, old: Sequence[Row]) -> tuple[dict[str, tuple[Any, Row]], list[_Item]]:
    """Return the elements with their rows, by the identity of these, and the elements without a row."""
    elements, placed = list(rule.elements_of(value)), rule.placed(old)
    items: dict[str, tuple[Any, Row]] = {}
    loose = []
    for place, (_, name, element) in zip(rule.label(len(elements), placed), elements, strict=False):
        row = placed.get(place)
        if row is None:
            loose.append(_Item(name, element))
        else:
            items[row[IDENTITY]] = element, row
    return items, loose


def _combine(rule: Children, element: Any, old: Row, new: Row, combine: Combine) -> Any:
    before, after = rule.restore_element(old)[1], rule.restore_element(new)[1]
    if rule.values or type(element) is not dict:
        return element if same(before, after) else after
    for nested in rule.nested:
        before.pop(nested.path, None)
        after.pop(nested.path, None)
    merged = combine(element, before, after)
    return set_fields(rule.nested, merged, element, old, new, combine)


def set_fields(
    rules: Iterable[Children], merged: Document, document: Document, old: Row, new: Row, combine: Combine
) -> Document:
    """Return a merged document in which the fields whose rows have changed are those of `document` with the changes."""
    changed = dict(merged)
    for rule in rules:
        before, after = old.get(rule.row_key) or [], new.get(rule.row_key) or []
        if equal(before, after):
            continue
        value = merge_field(rule, document.get(rule.path, ABSENT), before, after, combine)
        if value is ABSENT:
            changed.pop(rule.path, None)
        else:
            changed[rule.path] = value
    return changed


def places_in(rule: Children, count: int, rows: Sequence[Row]) -> Iterator[tuple[int, Row]]:
    """Yield the index of the element of each row, in a field with `count` elements that `merge_field` has returned."""
    placed = rule.placed(rows)
    for index, place in enumerate(rule.label(max(count, len(placed)), placed)):
        if place in placed:
            yield index, placed[place]


def _compose(rule: Children, value: Any, merged: dict[int, _Item], loose: list[_Item]) -> Any:
    labels = rule.label(len(merged) + len(loose), merged)
    rest = iter(loose)
    items = [merged[place] if place in merged else next(rest) for place in labels]
    if rule.shape == "array":
        return [element for _, element in items]
    if rule.shape == "map":
        return dict(items) if items or type(value) is dict else ABSENT
    return items[0].element if items else ABSENT
