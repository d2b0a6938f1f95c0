"""Finds what of the rows of elements a document cannot hold. Pure functions.

The place of an element is its index: gaps between the positions that an application has given are not kept. Nor is the
key of a new row, which follows from that place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from migrator.documents.codec import Document
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Row
from migrator.postgres.column_kinds import kind_of_column
from migrator.reversing.element_merge import places_in
from migrator.reversing.element_rows import IDENTITY
from migrator.reversing.equality import equal

_INDEX = re.compile(r"\[\d+\]")


class ElementColumn(NamedTuple):
    """A column of an element: its name, as items[2].price, its kind, its value, and what the document gives instead."""

    name: str
    kind: str
    value: Any
    other: Any


def compare_elements(
    collection: Collection, before: Row | None, after: Row, document: Document, row: Row
) -> Iterator[ElementColumn]:
    """Yield the columns of elements whose values have changed since `before`. `row`: what the document gives."""
    for rule in collection.children:
        old = [] if before is None else before.get(rule.row_key) or []
        value = document.get(rule.path, ABSENT)
        yield from _compare(rule, old, after.get(rule.row_key) or [], value, row.get(rule.row_key) or [], rule.path)


def _compare(
    rule: Children, before: Sequence[Row], after: Sequence[Row], value: Any, given: Sequence[Row], path: str
) -> Iterator[ElementColumn]:
    elements = [element for _, _, element in rule.elements_of(value)]
    old = {row[IDENTITY]: row for row in before}
    found = rule.placed(given)
    columns = [name for name in rule.element_columns if name != rule.position]
    for index, row in places_in(rule, len(elements), after):
        earlier, other = old.get(row[IDENTITY]), found.get(index, {})
        if earlier is not None and equal(earlier, row):
            continue
        name = path if rule.position is None else f"{path}[{index}]"
        for column in columns:
            if earlier is None or not equal(earlier.get(column), row[column]):
                kind = kind_of_column(rule.table.c[column])
                yield ElementColumn(f"{name}.{column}", kind, row[column], other.get(column))
        for nested in rule.nested:
            inner = elements[index].get(nested.path, ABSENT) if index < len(elements) else ABSENT
            old_rows = [] if earlier is None else earlier.get(nested.row_key) or []
            new_rows = row.get(nested.row_key) or []
            yield from _compare(
                nested, old_rows, new_rows, inner, other.get(nested.row_key) or [], f"{name}.{nested.path}"
            )


def kind_of_element_column(collection: Collection, name: str) -> str:
    """Return the kind of a column with the name of an `ElementColumn`."""
    return dict(_kinds(collection.children, ""))[_INDEX.sub("[]", name)]


def _kinds(rules: Sequence[Children], prefix: str) -> Iterator[tuple[str, str]]:
    for rule in rules:
        path = f"{prefix}{rule.path}" if rule.position is None else f"{prefix}{rule.path}[]"
        for column in rule.element_columns:
            yield f"{path}.{column}", kind_of_column(rule.table.c[column])
        yield from _kinds(rule.nested, f"{path}.")
