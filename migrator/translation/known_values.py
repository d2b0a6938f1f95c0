"""What values of elements become, by their BSON: dictionaries that `native.ElementCutter` reads.

It asks for values that are not in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bson import ObjectId

from migrator.documents.codec import decode_value, same
from migrator.mapping.codecs import UNREADABLE
from migrator.mapping.context import Context
from migrator.mapping.references import Reference, ReferenceIds, reference_ids
from migrator.mapping.rules import Field
from migrator.postgres import copy_format
from migrator.translation.interpreter import References

UNFIT: Final = object()  # a row would not restore this value

_OBJECTID = 0x07
_MOST_KNOWN, _MOST_KNOWN_BYTES = 10_000, 64


class KnownValues(dict[bytes, Any]):
    """BSON of a field, type first → the bytes of its column, None for NULL, or `UNFIT`. For small values."""

    def __init__(self, rule: Field, kind: str) -> None:
        super().__init__()
        self._codec, self._path, self._write = rule.codec, rule.paths[0], copy_format.writer(kind)

    def begin(self, context: Context) -> None:
        """Make room for further values. The cutter uses those here until then."""
        if len(self) >= _MOST_KNOWN:
            self.clear()

    def find(self, raw: bytes, context: Context) -> Any:
        """Return what a value becomes. It is kept if there is no finding."""
        value, notes = decode_value(raw[0], raw[1:]), list[tuple[str, str]]()
        plain = self._codec.read(value, lambda code, detail: notes.append((code, detail)), self._path)
        if plain is UNREADABLE or not same(self._codec.write(plain), value):
            return UNFIT  # the rule records the findings
        for note in notes:
            context.note(*note)
        found = None if plain is None else self._write(plain)
        if not notes and len(raw) <= _MOST_KNOWN_BYTES and len(self) < _MOST_KNOWN:
            self[raw] = found
        return found


@dataclass(slots=True)
class _Named:
    """A value of references, the ID that it names, the ID of the row last found, and that as the bytes of a column.

    `element` has the value as the lookups read it.
    """

    value: Any
    row_id: Any
    element: Any
    found: Any = None
    field: Any = UNFIT


class KnownReferences(dict[bytes, Any]):
    """The same for references. Found rows are kept while the same lookups are used; what values name is kept longer."""

    def __init__(self, rule: Reference, kind: str, *, in_documents: bool) -> None:
        super().__init__()
        self._in_documents = in_documents
        self._rule, self._lookup, self._write = rule, rule.lookup, copy_format.writer(kind)
        self._ids: ReferenceIds = reference_ids(rule.key)
        self._named: dict[bytes, _Named] = {}
        self._looked_up = set[Any]()  # the IDs of the rows that were found, or not found
        self.generation = 1  # what the cutter has from here belongs to one generation
        self._known_by: object = None

    def begin(self, context: Context) -> None:
        """Forget the rows that were found, if the next documents may find others."""
        if self._known_by is None:
            self.clear()

    def clear(self) -> None:
        super().clear()
        self._looked_up.clear()
        self.generation = self.generation % 0xFFFF_FFFF + 1

    def prepare(self, known_by: object) -> None:
        """Forget the rows that other lookups have found, and values of which there are too many."""
        if known_by is None or known_by is not self._known_by or len(self._named) >= 2 * _MOST_KNOWN:
            self.clear()
        if len(self._named) >= 2 * _MOST_KNOWN:
            self._named.clear()
        self._known_by = known_by

    def elements(self, wanted: set[bytes]) -> Iterator[Any]:
        """Yield elements with some values of references, as the lookups read them: those that are not known."""
        known = self._named
        for raw in wanted.difference(self):
            yield (known.get(raw) or self._name(raw)).element

    def is_in(self, references: References) -> bool:
        """Return whether lookups have answered everything again that is known: rules may ask for that, too."""
        return references[self._lookup.name].keys() >= self._looked_up

    def _name(self, raw: bytes) -> _Named:
        named = self._named.get(raw)
        if named is None:
            value = ObjectId(raw[1:]) if raw[0] == _OBJECTID else decode_value(raw[0], raw[1:])
            element = {self._rule.path: value} if self._in_documents else value
            self._named[raw] = named = _Named(value, self._ids.of(value), element)
        return named

    def find(self, raw: bytes, context: Context) -> Any:
        """Return the key of the only row that a value leads to; `UNFIT` if none does, or it restores another value."""
        named = self._name(raw)
        candidates = context.find(self._lookup, named.row_id)
        if len(candidates) != 1 or candidates[0].id is None:
            found = UNFIT
        elif candidates[0].id == named.found:
            found = named.field
        else:
            assert self._rule.write is not None  # compilable
            named.found = candidates[0].id
            exact = same(self._rule.write(named.found), named.value)
            found = named.field = self._write(named.found) if exact else UNFIT
        self[raw] = found
        self._looked_up.add(named.row_id)
        return found
