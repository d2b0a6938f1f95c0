"""The code writer: the lines of a generated function while it is written, and the names that they use.

Names are taken from columns and fields: `column_role` is the plain value of the column `role`, `field_text` the value
of the field `text`. Which lines are written is decided in templates.py, write_program.py and write_output.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final

from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.references import Key
from migrator.mapping.text_parts import TextParts
from migrator.translation.projection import Slot, SlotType

# Leaves the document to the interpreter.
LEAVE: Final = "leave(first + index); continue"
# Indentation of the code for one document: inside `def`, `for` and `try`.
BODY: Final = 3

_PREFIXES = {
    SlotType.VALUE: "field",
    SlotType.DATETIME: "datetime",
    SlotType.UUID: "uuid",
    SlotType.PRESENT: "has",
    SlotType.ELEMENTS: "place",
    SlotType.PARTS: "parts",
}


@dataclasses.dataclass
class CodeWriter:
    """The lines of one function, and its names.

    `elements` are the compiled rules of fields whose elements become rows, by path. `bound` are the values of global
    names. `columns` are the local names of plain values by row key, `fields` those of the projected fields in the order
    of their slots, `forms` the forms of those that are lists of parts. `key_caches` are the local names of the
    `KeyCache` of each key.
    """

    collection: Collection
    constants: Row
    elements: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lines: list[str] = dataclasses.field(default_factory=list)
    bound: dict[str, Any] = dataclasses.field(default_factory=dict)
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    fields: dict[Slot, str] = dataclasses.field(default_factory=dict)
    forms: dict[str, TextParts] = dataclasses.field(default_factory=dict)
    key_caches: dict[Key, str] = dataclasses.field(default_factory=dict)
    _locals: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    _names: set[str] = dataclasses.field(default_factory=set)

    def add(self, depth: int, *lines: str) -> None:
        """Add lines with an indentation."""
        self.lines += ["    " * depth + line for line in lines]

    def column(self, name: str) -> str:
        """Return the local name of the value of a row key, defined at the first use."""
        return self.columns.setdefault(name, self.local("column", name))

    def field(self, name: str, slot_type: SlotType = SlotType.VALUE) -> str:
        """Return the local name of a field of the document. The first use adds it to the projection."""
        return self.fields.setdefault((name, slot_type), self.local(_PREFIXES[slot_type], name))

    def parts(self, name: str, form: TextParts) -> str:
        """Return the local name of a field that is a list of parts. The first use adds it to the projection.

        The forms of two rules for one field are the same (`mapping.validation`).
        """
        self.forms[name] = form
        return self.field(name, SlotType.PARTS)

    def document(self) -> str:
        """Return the local name of the whole document. The first use adds it to the projection."""
        return self.fields.setdefault(("", SlotType.DOCUMENT), "document")

    def key_cache(self, key: Key) -> str:
        """Return the local name of the cache with the UUIDs of a key."""
        return self.key_caches.setdefault(key, self.local("ids", f"{key.collection}_{key.path}"))

    def local(self, prefix: str, name: str) -> str:
        """Return the local name of a prefix and a name. It is unique in the function."""
        key = prefix, name
        if key not in self._locals:
            self._locals[key] = self._reserve(f"{prefix}_{name}")
        return self._locals[key]

    def bind(self, name: str, value: Any) -> str:
        """Return a global name for a value."""
        wanted = _identifier(name)
        if wanted in self.bound and self.bound[wanted] is value:
            return wanted
        wanted = self._reserve(name)
        self.bound[wanted] = value
        return wanted

    def row(self) -> str:
        """Return an expression for the row so far, as rules expect it."""
        pairs = [f"{name!r}: {local}" for name, local in self.columns.items()]
        pairs += [f"{name!r}: {self.bind(f'constant_{name}', value)}" for name, value in self.constants.items()]
        return "{" + ", ".join(pairs) + "}"

    def compare(self, name: str, restored: str) -> None:
        """Add lines that compare a field of the document with the value that the row restores."""
        value = self.field(name)
        self.add(BODY, f"restored = {restored}")
        self.add(BODY, f"if {value} is ABSENT:", "    if restored is not ABSENT:", f"        unset += ({name!r},)")
        differs = f"(restored != {value} if restored.__class__ in SIMPLE else not same(restored, {value}))"
        self.add(BODY, f"elif restored is not {value} and (restored.__class__ is not {value}.__class__ or {differs}):")
        self.add(BODY, f"    changed += ({name!r},)")

    def _reserve(self, wanted: str) -> str:
        name = base = _identifier(wanted)
        number = 1
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name


def _identifier(text: str) -> str:
    return re.sub(r"\W", "_", text, flags=re.ASCII)
