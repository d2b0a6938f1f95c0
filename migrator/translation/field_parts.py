"""Which fields of a document are written from the columns of its row without Python.

`native.FieldWriter` writes these, and puts those between them that rules compute. All parts of a document are in the
order of the rules. If several rules restore one field, its place depends on the row: such documents have no parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final, NamedTuple

from bson.errors import BSONError

from migrator.documents.codec import encode
from migrator.ids import uuid_text
from migrator.mapping import codecs
from migrator.mapping.codecs import UNREADABLE
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.composite_keys import AnyKey
from migrator.mapping.context import ABSENT
from migrator.mapping.references import Key, Reference, UncheckedReference
from migrator.mapping.rules import CustomRule, Field, Implied


class FieldForm(IntEnum):
    """How a field is written. The numbers are those of the compiled version."""

    COMPUTED = 0  # by a rule in Python
    CONSTANT = 1
    TEXT = 2
    UUID_TEXT = 3
    BOOLEAN = 4
    TIMESTAMP = 5
    KEPT = 6  # by a function of few distinct values, whose results are kept


class FieldPart(NamedTuple):
    """A field of a document: its name, and the place of its column among the fields of a row.

    `literal`: the BSON element of a constant, or of a column without a value (empty: no field; None: an error). The
    place of a part that is KEPT is that of its `KeptFields`; the parts have the order of its elements.
    """

    form: FieldForm
    name: str
    place: int = 0
    literal: bytes | None = None


class KeptFields(NamedTuple):
    """Fields that functions compute from the columns at `places`.

    `compute(fields)` returns the BSON element of each (empty: no field; None: an error). Its results are kept by the
    bytes of the columns, so equal values must have equal bytes.
    """

    places: tuple[int, ...]
    compute: Callable[[list[bytes | None]], tuple[bytes | None, ...]]


# By codec: how the values of columns of these kinds are written.
_WRITTEN: Final = {
    codecs.Text: (FieldForm.TEXT, ("text",)),
    codecs.Boolean: (FieldForm.BOOLEAN, ("boolean",)),
    codecs.DateTime: (FieldForm.TIMESTAMP, ("timestamp", "timestamptz")),
}
MOST_PARTS = 200  # of a document
MOST_INPUTS = 16  # of a function whose results are kept


class FieldParts:
    """Finds the parts of the documents of one collection. `readers`: as for `restoring.compile_restore`.

    `are_possible`: whether its documents can be written in parts.
    """

    def __init__(self, collection: Collection, readers: Mapping[str, Any]) -> None:
        names = [name for rule in (collection.key, *collection.rules) for name in rule.restored_fields]
        # A custom rule may change the fields of other rules.
        is_custom = any(isinstance(rule, CustomRule) for rule in collection.rules)
        self.are_possible = not is_custom and len(set(names)) == len(names) <= MOST_PARTS
        self._readers, self._places = readers, {name: place for place, name in enumerate(readers)}

    def find(self, rule: Rule | AnyKey) -> FieldPart | None:
        """Return the one part that a rule restores without Python; None if it is none."""
        part = self._find(rule)
        return part if part is not None and "\0" not in part.name else None

    def computed(self, rule: Rule | AnyKey) -> list[FieldPart]:
        """Return the parts of a rule that is called."""
        return [FieldPart(FieldForm.COMPUTED, name) for name in rule.restored_fields]

    def _find(self, rule: Rule | AnyKey) -> FieldPart | None:
        match rule:
            case Key(path=path, column=column, codec=None) if path != "_id":
                if rule.text:
                    return self._column_part(FieldForm.TEXT, path, column, ("text",), None)
                return self._column_part(FieldForm.UUID_TEXT, path, column, ("uuid",), None)
            case Field(column=column, codec=codec, restored_path=path) if type(codec) in _WRITTEN and "." not in path:
                form, kinds = _WRITTEN[type(codec)]
                return self._column_part(
                    form, path, column, kinds, encode_field(path, None) if rule.restore_null else b""
                )
            case Implied(inputs=(), path=path, value=value):
                literal = b"" if value is ABSENT or value is UNREADABLE else encode_field(path, value)
                return None if literal is None else FieldPart(FieldForm.CONSTANT, path, 0, literal)
            case Reference(path=path, column=column, write=write) if write is uuid_text:
                return self._column_part(FieldForm.UUID_TEXT, path, column, ("uuid",), None)
            case UncheckedReference(path=path, column=column):
                null = encode_field(path, rule.null_values[0])
                return None if null is None else self._column_part(FieldForm.UUID_TEXT, path, column, ("uuid",), null)
        return None

    def _column_part(
        self, form: FieldForm, path: str, column: str, kinds: tuple[str, ...], null: bytes | None
    ) -> FieldPart | None:
        return FieldPart(form, path, self._places[column], null) if self._readers[column] in kinds else None


def encode_field(path: str, value: Any) -> bytes | None:
    """Return the BSON element of a field; None if BSON cannot have it."""
    try:
        return encode({path: value})[4:-1]
    except (BSONError, ValueError, OverflowError, TypeError):
        return None
