"""The condition by which a mapping takes documents of a collection that several mappings share."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bson import Decimal128

from migrator.documents.codec import Document
from migrator.mapping.context import value_at


@dataclass(frozen=True, slots=True)
class Where:
    """Takes the documents whose field `path` has one of `values`.

    Numbers are compared as MongoDB compares them: 1 and 1.0 are equal. `ABSENT` is the value of a missing field.
    """

    path: str
    values: tuple[Any, ...]

    @property
    def field(self) -> str:
        """The top-level field that has or contains the field."""
        return self.path.partition(".")[0]

    def takes(self, document: Document) -> bool:
        """Return whether a document belongs to the mapping."""
        return self.takes_value(value_at(document, self.path))

    def takes_value(self, value: Any) -> bool:
        """Return whether the value of the field is one of `values`."""
        if type(value) is str:  # nearly all
            return value in self.values
        return any(is_equal(value, each) for each in self.values)


def is_equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal as MongoDB compares them."""
    one, other = _number(one), _number(other)
    if isinstance(one, int | float | Decimal) and isinstance(other, int | float | Decimal):
        return isinstance(one, bool) == isinstance(other, bool) and one == other
    return type(one) is type(other) and bool(one == other)


def _number(value: Any) -> Any:
    found = value.to_decimal() if isinstance(value, Decimal128) else value
    return None if isinstance(found, Decimal) and found.is_snan() else found  # comparing it raises an error
