"""Decodes and encodes BSON without loss, and compares BSON values exactly: types, sign of zero, order of fields."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError, InvalidBSON, InvalidDocument

from migrator.documents.native import BsonParts
from migrator.documents.raw_bson import find_decoding_risk, is_overlapping

# Dates become DatetimeMS: it represents every 64-bit value, and its equality is exact. UUID subtypes stay Binary.
CODEC_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)

Document = dict[str, Any]
_ZEROS = 1 << 16  # bytes behind a damaged document
_double = struct.Struct("<d").pack
_COMPARABLE = frozenset({str, bool, int, type(None), bson.ObjectId})  # types whose == is exact


def decode(data: bytes) -> Document:
    """Return a BSON document as a dict that encodes to the same values. Raises: bson.errors.InvalidBSON."""
    return bson.decode(data, CODEC_OPTIONS)


def decode_value(bson_type: int, raw: bytes) -> Any:
    """Decode a BSON value from its type and bytes. A document is decoded by itself, not as part of another one."""
    if bson_type == 0x03:
        return bson.decode(raw, CODEC_OPTIONS)
    document = (len(raw) + 7).to_bytes(4, "little") + bytes((bson_type, 0)) + raw + b"\0"
    return bson.decode(document, CODEC_OPTIONS)[""]


def decode_untrusted(data: bytes) -> Document:
    """Return a document of unknown origin. Raises: InvalidBSON, also if it is nested too deeply or too large."""
    if reason := find_decoding_risk(data):
        raise InvalidBSON(reason)
    try:
        return decode(data)
    except InvalidBSON as error:
        if is_overlapping(data):
            raise InvalidBSON("an embedded document is longer than the document that it is in") from error
        raise InvalidBSON(_find_cause(data)) from error


def _find_cause(data: bytes) -> str:
    """Return why a document cannot be decoded.

    The driver reads behind some damaged values, so that its text depends on the memory there: here zeros follow.
    """
    try:
        bson.decode(memoryview(data + bytes(_ZEROS))[: len(data)], CODEC_OPTIONS)
    except InvalidBSON as error:
        return str(error)
    return "invalid BSON"


def decode_each(data: bytes, raws: Sequence[bytes]) -> list[Document | None]:
    """Return the decoded documents `raws`; None for those that cannot be decoded.

    `data` are the same documents without a gap: decoding them together is faster.
    """
    if not any(map(find_decoding_risk, raws)):
        with suppress(InvalidBSON):  # they are decoded one by one, to find the invalid ones
            return list(bson.decode_all(data, CODEC_OPTIONS))
    return [_decode_or_none(raw) for raw in raws]


def _decode_or_none(raw: bytes) -> Document | None:
    try:
        return decode_untrusted(raw)
    except InvalidBSON:
        return None


def format_id(source_id: bytes) -> str:
    """Return the `_id` in a ledger's `{"_id": …}` as text; its bytes in hexadecimal if it cannot be decoded."""
    try:
        return str(decode_untrusted(source_id).get("_id"))
    except InvalidBSON:
        return f"\\x{source_id.hex()}"


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document as BSON."""
    return bson.encode(document, codec_options=CODEC_OPTIONS)


def encode_embedded(document: Mapping[str, Any]) -> bytes:
    """Return a document as BSON as it is in another one: the driver puts the `_id` of a whole document first."""
    return encode({"": document})[6:-1]


def is_faithful(document: Document, raw: bytes) -> bool:
    """Return whether a decoded document encodes to the bytes it came from.

    It does not if the driver loses something: a duplicate name in a document, deprecated types (undefined, symbol,
    DBPointer), a DBRef with its fields in an unusual order, unknown flags of a regular expression.
    """
    try:
        return encode(document) == raw
    except (BSONError, ValueError, OverflowError, TypeError, RecursionError):
        return False


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same BSON: 1 is not 1.0, Int64(1) is not 1, -0.0 is not 0.0, NaN is NaN.

    `other` may be an array that is not decoded.
    """
    kind = type(one)
    if kind is not type(other):
        if kind is not list or type(other) is not BsonParts:
            return False
        equal = other.equals(one)
        return same(one, decode_value(0x04, other.raw)) if equal is None else equal
    if kind in _COMPARABLE:
        return bool(one == other)
    if kind is float:  # vectors have thousands
        return _double(one) == _double(other)
    if kind is list:
        return len(one) == len(other) and all(map(same, one, other))
    if kind is dict:
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    try:
        return encode({"": one}) == encode({"": other})
    except (InvalidDocument, OverflowError):
        return False  # a number of jsonb that BSON has no type for; one of the two values came from a document
