"""Equality of BSON values that misses nothing: types, the sign of zero, order inside values. And what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import bson
from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError, InvalidBSON, InvalidDocument

from migrator.translation.rawbson import why_not_to_decode

# Dates as DatetimeMS: every 64-bit value is representable, and equality is exact. UUID subtypes stay Binary.
CODEC_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)

Document = dict[str, Any]
_SIMPLE = frozenset({str, bool, int, type(None), bson.ObjectId})


def decode(data: bytes) -> Document:
    """One BSON document as a dict that encodes back to the same values. Raises bson.errors.InvalidBSON."""
    return bson.decode(data, CODEC_OPTIONS)


def decode_sound(data: bytes) -> Document:
    """The same for a document of whoever's making: one that is too deep or too large is not decoded, either."""
    if reason := why_not_to_decode(data):
        raise InvalidBSON(reason)
    return decode(data)


def decode_each(data: bytes, raws: Sequence[bytes]) -> list[Document | None]:
    """The same for the documents `raws`, which `data` is made of: faster than one by one. None for what is refused."""
    if not any(map(why_not_to_decode, raws)):
        with suppress(InvalidBSON):
            return list(bson.decode_all(data, CODEC_OPTIONS))
    return [_decode_or_none(raw) for raw in raws]


def _decode_or_none(raw: bytes) -> Document | None:
    try:
        return decode_sound(raw)
    except InvalidBSON:
        return None


def show_id(source_id: bytes) -> str:
    """The `_id` in a ledger's `{"_id": …}`, for people; its bytes where it cannot be decoded."""
    try:
        return str(decode_sound(source_id).get("_id"))
    except InvalidBSON:
        return f"\\x{source_id.hex()}"


def encode(document: Mapping[str, Any]) -> bytes:
    return bson.encode(document, codec_options=CODEC_OPTIONS)


def is_faithful(document: Document, raw: bytes) -> bool:
    """Whether a decoded document encodes to the very bytes it came from.

    It does not where BSON has something that Python's driver does not tell: a name twice in one document, deprecated
    types (undefined, symbol, DBPointer), a DBRef in an unusual order, unknown flags of a regular expression.
    """
    try:
        return encode(document) == raw
    except (BSONError, ValueError, OverflowError, TypeError, RecursionError):
        return False


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same BSON: 1 is not 1.0, Int64(1) is not 1, -0.0 is not 0.0, NaN is NaN."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _SIMPLE:
        return bool(one == other)
    if kind is list:
        return len(one) == len(other) and all(map(same, one, other))
    if kind is dict:
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    try:
        return encode({"": one}) == encode({"": other})
    except (InvalidDocument, OverflowError):
        return False  # numbers of jsonb that BSON has no type for: one of the two came out of a document


def subtract(document: Document, back: Document) -> tuple[Document, list[str]]:
    """`document − back`: the fields that must be set and the names that must be unset to get from back to document."""
    setting = {k: v for k, v in document.items() if k not in back or not same(v, back[k])}
    return setting, [k for k in back if k not in document]


def pack_residue(
    setting: Document,
    unset: list[str],
    forms: Mapping[str, int] | None = None,
    cuts: Mapping[str, Document] | None = None,
) -> bytes | None:
    """The residue as the ledger keeps it: BSON `{"set": …, "unset": […], "form": …, "cut": …}`, or None for nothing.

    `form` tells which of its forms a field has, `cut` what is left of one without what the row gives (`OneOf`). Once
    all is loaded there may be a `first`: how many of a row's members a field lists, if not all (members.py).
    """
    residue: Document = {}
    if setting:
        residue["set"] = setting
    if unset:
        residue["unset"] = sorted(unset)
    if forms:
        residue["form"] = dict(forms)
    if cuts:
        residue["cut"] = dict(cuts)
    return encode(residue) if residue else None


def forms_of(residue: bytes | None) -> dict[str, int]:
    """The fields of a residue's document that have another form than the first."""
    return {} if residue is None or _FORM not in residue else decode(residue).get("form", {})


def cuts_of(residue: bytes | None) -> dict[str, Document]:
    """What is left of the fields of a residue's document that were cut."""
    return {} if residue is None or _CUT not in residue else decode(residue).get("cut", {})


def firsts_of(residue: bytes | None) -> dict[str, int]:
    """How many members the fields list that do not list all."""
    return {} if residue is None or _FIRST not in residue else decode(residue).get("first", {})


# BSON's type and name of these elements
_RAW, _FORM, _CUT, _FIRST = b"\x05raw\0", b"\x03form\0", b"\x03cut\0", b"\x03first\0"


def whole_residue(raw: bytes) -> bytes:
    """The residue of a document that only its own bytes can give back: BSON `{"raw": …}`."""
    return encode({"raw": Binary(raw)})


def whole_of(residue: bytes | None) -> bytes | None:
    """The document's bytes in a `whole_residue`; None for any other residue."""
    if residue is None or not residue.startswith(_RAW, 4):  # asked of every document that is rebuilt: no decoding
        return None
    return bytes(decode(residue)["raw"])


def add_residue(back: Document, residue: bytes | None) -> Document:
    """`back + residue`: the document as the source had it (the order of top-level fields may differ)."""
    if residue is None:
        return back
    parts = decode(residue)
    for name in parts.get("unset", ()):
        del back[name]
    if "set" in parts:
        back.update(decode(_inner_document(residue, b"set")))
    return back


def _inner_document(data: bytes, name: bytes) -> bytes:
    """The bytes of the sub-document that comes first. Read by itself: inside another, $ref and $id make it a DBRef."""
    start = 4 + 1 + len(name) + 1
    return data[start : start + int.from_bytes(data[start : start + 4], "little")]


def open_residue(residue: bytes | None) -> Document:
    """The parts of a residue, to be changed."""
    parts = {} if residue is None else decode(residue)
    if residue is not None and "set" in parts:
        parts["set"] = decode(_inner_document(residue, b"set"))
    return parts


def close_residue(parts: Document) -> bytes | None:
    """The residue of changed parts; those that became empty are left out."""
    kept = {name: parts[name] for name in ("raw", "set", "unset", "form", "cut", "first") if parts.get(name)}
    return encode(kept) if kept else None
