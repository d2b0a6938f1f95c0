"""Changes of columns of elements, for the rehearsal of the return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.reversing.column_values import change_value
from migrator.reversing.element_rows import IDENTITY


def number_elements(rules: Sequence[Children], row: Row) -> None:
    """Give the rows of elements an identity."""
    for rule in rules:
        for number, element in enumerate(row.get(rule.row_key) or ()):
            element[IDENTITY] = str(number)
            number_elements(rule.nested, element)


def change_elements(collection: Collection, row: Row) -> Iterator[tuple[str, Row]]:
    """Yield (column, changes of the row) for each column of the first element of each field, as items[].price.

    References are left out: which rows they can refer to is not known here.
    """
    for rule in collection.children:
        for name, changed in _change(rule, row.get(rule.row_key) or []):
            yield name, {rule.row_key: changed}


def _change(rule: Children, rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    if not rows:
        return
    first, *others = rows
    path = rule.path if rule.position is None else f"{rule.path}[]"
    for name in rule.element_columns:
        column = rule.table.c[name]
        value = None if column.foreign_keys or name == rule.position else change_value(column, first[name])
        if value is not None:
            yield f"{path}.{name}", [{**first, name: value}, *others]
    for nested in rule.nested:
        for name, changed in _change(nested, first.get(nested.row_key) or []):
            yield f"{path}.{name}", [{**first, nested.row_key: changed}, *others]
