"""What a compiled function is given of a document: the fields it asks for, cut out of raw BSON, in a tuple.

There are two of a kind. The one here decodes every document by the driver, and compares what that encodes to with the
document's bytes. `native.Projector`, which is there where the package was built with a C compiler, reads the bytes
themselves and makes objects of what is asked for alone. It leaves more documents uncut, and says the same of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import bson
from bson import DatetimeMS, ObjectId
from bson.errors import BSONError

from migrator.documents import raw_bson
from migrator.documents.codec import CODEC_OPTIONS, Document, decode_each, encode, is_faithful
from migrator.ids import canonical_uuid
from migrator.mapping import codecs
from migrator.mapping.context import ABSENT
from migrator.translation import native
from migrator.translation.residue_fields import as_field, encode_all


class SlotType(IntEnum):
    """How a field is wanted. Of a document whose field is not so nothing is said.

    VALUE: as the driver decodes it. DATETIME: microseconds since 1970 of a date that a timestamp can hold, or None for
    null. UUID: the 16 bytes of a text that is a UUID in canonical form, else its value; it must not be binary data.
    WHOLE: not a field but the document. THERE: True for a field that is there, whatever it holds.
    """

    VALUE = 0
    DATETIME = 1
    UUID = 2
    WHOLE = 3
    THERE = 4


Slot = tuple[str, SlotType]


@dataclass(frozen=True, slots=True)
class Projection:
    """What is asked of documents.

    `given` are fields that rules give back. A tuple has the bytes of the ObjectId in `_id`, the number of fields that
    no rule gives back, a key that stands for types and values of the `familiar` fields, then what each of `slots` asks
    for. A field that is not there is ABSENT. `references` are those whose values are looked up.
    """

    given: frozenset[str]
    familiar: tuple[str, ...]
    slots: tuple[Slot, ...]
    references: frozenset[str] = frozenset()


class Projections(Protocol):
    """Some documents of a batch. `tuples` has None for a document of which nothing is said; `end`: where they end."""

    @property
    def starts(self) -> list[int]: ...

    @property
    def tuples(self) -> list[tuple[Any, ...] | None]: ...

    @property
    def end(self) -> int: ...

    def raw(self, place: int) -> bytes:
        """A document's BSON."""
        ...

    def residue(self, place: int, other: tuple[str, ...], told: bytes) -> bytes:
        """The ledger's field with the residue of a document: in `set` all fields that no rule gives back and those of
        `other`, then the elements `told`."""
        ...


class Projecting(Protocol):
    """Cuts documents: at most `most` of a batch, from a position on. Raises ValueError where lengths do not fit."""

    def cut(self, data: bytes, position: int, most: int) -> Projections: ...


def projector_of(wanted: Projection) -> Projecting:
    """The fastest there is."""
    if native.Cutter is None:
        return Projector(wanted)
    return native.Cutter(
        wanted.given,
        wanted.familiar,
        wanted.slots,
        absent=ABSENT,
        decode=decode_value,
        earliest=-(-codecs.EARLIEST // 1000),
        latest=codecs.LATEST // 1000,
    )


def decode_value(kind: int, raw: bytes) -> Any:
    """A BSON value by its type and bytes; a document is decoded as one that stands by itself."""
    if kind == 0x03:
        return bson.decode(raw, CODEC_OPTIONS)
    document = (len(raw) + 7).to_bytes(4, "little") + bytes((kind, 0)) + raw + b"\0"
    return bson.decode(document, CODEC_OPTIONS)[""]


class Projector:
    """Cuts by decoding."""

    def __init__(self, wanted: Projection) -> None:
        self._wanted = wanted
        self._given = wanted.given | {"_id"}
        self._slots = [(name, _READERS[form]) for name, form in wanted.slots]

    def cut(self, data: bytes, position: int, most: int) -> Projections:
        raws: list[bytes] = []
        starts: list[int] = []
        first = position
        while position < len(data) and len(raws) < most:
            raw = raw_bson.document_at(data, position)
            raws.append(raw)
            starts.append(position)
            position += len(raw)
        documents = decode_faithful(data[first:position], raws)
        tuples = [None if each is None else self._tuple(each) for each in documents]
        return Decoded(self._given, raws, documents, starts, tuples, position)

    def _tuple(self, document: Document) -> tuple[Any, ...] | None:
        objectid = document.get("_id")
        if type(objectid) is not ObjectId:
            return None
        values = [read(document, name) for name, read in self._slots]
        if any(value is UNFIT for value in values):
            return None
        return (objectid.binary, len(document.keys() - self._given), self._familiar_key(document), *values)

    def _familiar_key(self, document: Document) -> Any:
        found = [document.get(name, ABSENT) for name in self._wanted.familiar]
        if any(type(value) not in _PLAIN for value in found):
            return encode({str(place): value for place, value in enumerate(found) if value is not ABSENT})
        return (*found, *map(type, found))


class Decoded:
    """Documents as they were decoded."""

    def __init__(
        self,
        given: frozenset[str],
        raws: list[bytes],
        documents: Sequence[Document | None],
        starts: list[int],
        tuples: list[tuple[Any, ...] | None],
        end: int,
    ) -> None:
        self._given, self._raws, self._documents = given, raws, documents
        self.starts, self.tuples, self.end = starts, tuples, end

    def raw(self, place: int) -> bytes:
        return self._raws[place]

    def residue(self, place: int, other: tuple[str, ...], told: bytes) -> bytes:
        document = self._documents[place]
        assert document is not None  # it has been cut
        kept = {name: value for name, value in document.items() if name not in self._given or name in other}
        setting = encode({"set": kept})[4:-1] if kept else b""
        size = len(setting) + len(told) + 5
        packed = b"".join((size.to_bytes(4, "little"), setting, told, b"\0"))
        return as_field(packed if size > 5 else None)


def decode_faithful(data: bytes, raws: list[bytes]) -> list[Document | None]:
    """Documents that encode to the very bytes they come from; None for the others, hardly ever any."""
    documents = decode_each(data, raws)
    some = [(place, document) for place, document in enumerate(documents) if document is not None]
    try:
        encoded: Iterable[bytes | None] = list(encode_all([document for _, document in some]))
    except (BSONError, ValueError, OverflowError, TypeError, RecursionError):
        encoded = [raws[place] if is_faithful(document, raws[place]) else None for place, document in some]
    for (place, _), again in zip(some, encoded, strict=True):
        if again != raws[place]:
            documents[place] = None
    return documents


class Unfit:
    """What a field is that a slot does not take."""


UNFIT = Unfit()
# Values whose equality and type tell them apart for good: 1 is True and 0.0 is -0.0 to a dictionary.
_PLAIN = frozenset({str, bool, int, type(None), type(ABSENT), bytes})


def _read_moment(document: Document, name: str) -> Any:
    value = document.get(name, ABSENT)
    if value is ABSENT or value is None:
        return value
    micros = int(value) * 1000 if type(value) is DatetimeMS else codecs.LATEST + 1
    return micros if codecs.EARLIEST <= micros <= codecs.LATEST else UNFIT


def _read_uuid(document: Document, name: str) -> Any:
    value = document.get(name, ABSENT)
    if type(value) is str:
        return canonical_uuid(value) or value
    return UNFIT if isinstance(value, bytes) else value


_READERS: dict[SlotType, Callable[[Document, str], Any]] = {
    SlotType.VALUE: lambda document, name: document.get(name, ABSENT),
    SlotType.DATETIME: _read_moment,
    SlotType.UUID: _read_uuid,
    SlotType.WHOLE: lambda document, name: document,
    SlotType.THERE: lambda document, name: True if name in document else ABSENT,
}
