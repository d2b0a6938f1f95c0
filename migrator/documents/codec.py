"""Equality of BSON values that misses nothing: types, the sign of zero, order inside values. And what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError, InvalidBSON, InvalidDocument

from migrator.documents.raw_bson import find_decoding_risk

# Dates as DatetimeMS: every 64-bit value is representable, and equality is exact. UUID subtypes stay Binary.
CODEC_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)

Document = dict[str, Any]
_SIMPLE = frozenset({str, bool, int, type(None), bson.ObjectId})


def decode(data: bytes) -> Document:
    """One BSON document as a dict that encodes back to the same values. Raises bson.errors.InvalidBSON."""
    return bson.decode(data, CODEC_OPTIONS)


def decode_untrusted(data: bytes) -> Document:
    """The same for a document of whoever's making: one that is too deep or too large is not decoded, either."""
    if reason := find_decoding_risk(data):
        raise InvalidBSON(reason)
    return decode(data)


def decode_each(data: bytes, raws: Sequence[bytes]) -> list[Document | None]:
    """The same for the documents `raws`, which `data` is made of: faster than one by one. None for what is refused."""
    if not any(map(find_decoding_risk, raws)):
        with suppress(InvalidBSON):
            return list(bson.decode_all(data, CODEC_OPTIONS))
    return [_decode_or_none(raw) for raw in raws]


def _decode_or_none(raw: bytes) -> Document | None:
    try:
        return decode_untrusted(raw)
    except InvalidBSON:
        return None


def format_id(source_id: bytes) -> str:
    """The `_id` in a ledger's `{"_id": …}`, for people; its bytes where it cannot be decoded."""
    try:
        return str(decode_untrusted(source_id).get("_id"))
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
