"""Projection: the fields of a document that a compiled function needs, read from raw BSON into a tuple.

There are two projectors. The one here decodes each document with the driver, and compares the encoded result with the
bytes of the document. `native.Projector` exists if the package was built with a C compiler. It reads the bytes itself,
and creates objects only for the fields that are needed. It projects fewer documents, with the same tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

from bson import DatetimeMS, ObjectId
from bson.errors import BSONError

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode_each, decode_value, encode, is_faithful
from migrator.ids import canonical_uuid
from migrator.mapping import dates
from migrator.mapping.context import ABSENT
from migrator.mapping.text_parts import TextParts
from migrator.translation import native
from migrator.translation.residue_fields import as_field, encode_all


class SlotType(IntEnum):
    """The form in which a field is needed. A document whose field does not have this form is not projected.

    VALUE: the value as the driver decodes it. DATETIME: microseconds since 1970 of a date that a timestamp can hold, or
    None for null. UUID: the 16 bytes of a text that is a UUID in canonical form, else the value, which must not be
    binary data. DOCUMENT: not a field but the whole document. PRESENT: True if the field exists, whatever its value.
    ELEMENTS: where the value is in the batch, times 256, plus its BSON type; only the native projector has this form.
    PARTS: as VALUE, but the native projector does not decode a list of parts in the form of `Projection.parts`.
    """

    VALUE = 0
    DATETIME = 1
    UUID = 2
    DOCUMENT = 3
    PRESENT = 4
    ELEMENTS = 5
    PARTS = 6


Slot = tuple[str, SlotType]


@dataclass(frozen=True, slots=True)
class Projection:
    """What is needed of documents.

    The tuple of a document has the bytes of the ObjectId in `_id`, the number of fields that are not in `restored`, a
    key for the types and values of the `low_cardinality` fields, then one value for each of `slots` (ABSENT if the
    field is absent). `lookup_fields` are the fields that lookups read, `parts` the forms of fields with parts.
    """

    restored: frozenset[str]
    low_cardinality: tuple[str, ...]
    slots: tuple[Slot, ...]
    lookup_fields: frozenset[str] = frozenset()
    parts: Mapping[str, TextParts] = field(default_factory=dict)


class Projections(Protocol):
    """Some documents of a batch.

    `offsets` are the positions of their first bytes, `end` is the position after the last one. `tuples` has None for a
    document that could not be projected. `data` is the batch.
    """

    @property
    def data(self) -> bytes: ...

    @property
    def offsets(self) -> list[int]: ...

    @property
    def tuples(self) -> list[tuple[Any, ...] | None]: ...

    @property
    def end(self) -> int: ...

    def raw(self, index: int) -> bytes:
        """Return the BSON of a document."""
        ...

    def residue(self, index: int, changed: tuple[str, ...], header: bytes) -> bytes:
        """Return the residue of a document as a field of the ledger.

        Its `set` has all fields that no rule restores, and those of `changed`. The elements `header` follow.
        """
        ...


class AnyProjector(Protocol):
    """Projects documents of a batch."""

    def project(self, data: bytes, position: int, limit: int) -> Projections:
        """Project at most `limit` documents, from a position on. Raises: ValueError if lengths do not fit."""
        ...


def projector_of(projection: Projection) -> AnyProjector:
    """Return the fastest projector."""
    if native.Projector is None:
        return Projector(projection)
    return native.Projector(
        projection.restored,
        projection.low_cardinality,
        projection.slots,
        parts=projection.parts,
        absent=ABSENT,
        decode=decode_value,
        earliest=-(-dates.EARLIEST // 1000),
        latest=dates.LATEST // 1000,
    )


class Projector:
    """Projects documents by decoding them."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._restored = projection.restored | {"_id"}
        self._slots = [(name, _READERS[slot_type]) for name, slot_type in projection.slots]

    def project(self, data: bytes, position: int, limit: int) -> Projections:
        raws: list[bytes] = []
        offsets: list[int] = []
        first = position
        while position < len(data) and len(raws) < limit:
            raw = raw_bson.document_at(data, position)
            raws.append(raw)
            offsets.append(position)
            position += len(raw)
        documents = decode_faithful(data[first:position], raws)
        tuples = [None if each is None else self._tuple(each) for each in documents]
        return DecodedProjections(self._restored, raws, documents, tuples, (data, offsets, position))

    def _tuple(self, document: Document) -> tuple[Any, ...] | None:
        objectid = document.get("_id")
        if type(objectid) is not ObjectId:
            return None
        values = [read(document, name) for name, read in self._slots]
        if any(value is UNFIT for value in values):
            return None
        return (objectid.binary, len(document.keys() - self._restored), self._memo_key(document), *values)

    def _memo_key(self, document: Document) -> Any:
        found = [document.get(name, ABSENT) for name in self._projection.low_cardinality]
        if any(type(value) not in _COMPARABLE for value in found):
            return encode({str(place): value for place, value in enumerate(found) if value is not ABSENT})
        return (*found, *map(type, found))


class DecodedProjections:
    """Projections of documents that were decoded."""

    def __init__(
        self,
        restored: frozenset[str],
        raws: list[bytes],
        documents: Sequence[Document | None],
        tuples: list[tuple[Any, ...] | None],
        extent: tuple[bytes, list[int], int],
    ) -> None:
        self._restored, self._raws, self._documents = restored, raws, documents
        self.tuples = tuples
        self.data, self.offsets, self.end = extent

    def raw(self, index: int) -> bytes:
        return self._raws[index]

    def residue(self, index: int, changed: tuple[str, ...], header: bytes) -> bytes:
        document = self._documents[index]
        assert document is not None  # it has been projected
        kept = {name: value for name, value in document.items() if name not in self._restored or name in changed}
        elements = encode({"set": kept})[4:-1] if kept else b""
        size = len(elements) + len(header) + 5
        packed = b"".join((size.to_bytes(4, "little"), elements, header, b"\0"))
        return as_field(packed if size > 5 else None)


def decode_faithful(data: bytes, raws: list[bytes]) -> list[Document | None]:
    """Return the documents that encode to the bytes they came from; None for the few others."""
    documents = decode_each(data, raws)
    some = [(index, document) for index, document in enumerate(documents) if document is not None]
    try:
        encoded: Iterable[bytes | None] = list(encode_all([document for _, document in some]))
    except (BSONError, ValueError, OverflowError, TypeError, RecursionError):
        encoded = [raws[index] if is_faithful(document, raws[index]) else None for index, document in some]
    for (index, _), again in zip(some, encoded, strict=True):
        if again != raws[index]:
            documents[index] = None
    return documents


class Unfit:
    """The value of a field that does not have the form of its slot."""


UNFIT = Unfit()
# Types whose values a tuple with their types tells apart. A dictionary alone does not: 1 equals True, and 0.0 -0.0.
_COMPARABLE = frozenset({str, bool, int, type(None), type(ABSENT), bytes})


def _read_datetime(document: Document, name: str) -> Any:
    value = document.get(name, ABSENT)
    if value is ABSENT or value is None:
        return value
    micros = int(value) * 1000 if type(value) is DatetimeMS else dates.LATEST + 1
    return micros if dates.EARLIEST <= micros <= dates.LATEST else UNFIT


def _read_uuid(document: Document, name: str) -> Any:
    value = document.get(name, ABSENT)
    if type(value) is str:
        return canonical_uuid(value) or value
    return UNFIT if isinstance(value, bytes) else value


_READERS: dict[SlotType, Callable[[Document, str], Any]] = {
    SlotType.VALUE: lambda document, name: document.get(name, ABSENT),
    SlotType.DATETIME: _read_datetime,
    SlotType.UUID: _read_uuid,
    SlotType.DOCUMENT: lambda document, name: document,
    SlotType.PRESENT: lambda document, name: True if name in document else ABSENT,
    SlotType.ELEMENTS: lambda document, name: UNFIT,
    SlotType.PARTS: lambda document, name: document.get(name, ABSENT),
}
