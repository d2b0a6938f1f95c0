"""The text of a compiled function while it is written: lines, and the names they use. See compile.py for the code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.references import Reference, UncheckedReference
from migrator.translation.projection import Slot, SlotType


@dataclass
class CodeWriter:
    """Lines and names. `locals_` are the locals of plain values by row key, `fields` those of what is asked of
    documents, in the order of their slots."""

    collection: Collection
    constants: Row
    lines: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    locals_: dict[str, str] = field(default_factory=dict)
    fields: dict[Slot, str] = field(default_factory=dict)

    def add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def local(self, column: str) -> str:
        """The local for a row key, made up on first use."""
        return self.locals_.setdefault(column, f"p{len(self.locals_)}")

    def value(self, name: str, form: SlotType = SlotType.VALUE) -> str:
        """The local with a field of the document, asked for on first use."""
        return self.fields.setdefault((name, form), f"f{len(self.fields)}")

    def whole(self) -> str:
        """The local with the whole document."""
        return self.fields.setdefault(("", SlotType.WHOLE), "d")

    def bind(self, prefix: str, value: Any) -> str:
        """A name in the function's globals for a value."""
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def memo_of(self, rule: Reference | UncheckedReference) -> str:
        """The local with the ids that a rule's field has claimed in this batch."""
        return "own" if rule.key == self.collection.key else f"ids{self.collection.rules.index(rule)}"

    def row(self) -> str:
        """The row as far as it is known, as rules want it."""
        pairs = [f"{name!r}: {local}" for name, local in self.locals_.items()]
        pairs += [f"{name!r}: {self.bind('const', value)}" for name, value in self.constants.items()]
        return "{" + ", ".join(pairs) + "}"

    def compare(self, name: str, back: str) -> None:
        """A field of the document against what the row gives back for it."""
        w = self.value(name)
        self.add(3, f"b = {back}", f"if {w} is A:", "    if b is not A:", f"        u += ({name!r},)")
        unequal = f"(b != {w} if b.__class__ in SIMPLE else not same(b, {w}))"
        self.add(3, f"elif b is not {w} and (b.__class__ is not {w}.__class__ or {unequal}):", f"    x += ({name!r},)")
