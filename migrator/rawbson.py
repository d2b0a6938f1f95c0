"""A document's `_id` out of its raw BSON, without decoding the rest: for what is archived or cannot be decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_int32 = struct.Struct("<i").unpack_from

# Bytes of a value by element type, where fixed.
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0xFF: 0, 0x7F: 0}
_PREFIXED = {0x02: 4, 0x0D: 4, 0x0E: 4, 0x05: 5, 0x0C: 16}  # bytes beside the announced ones
_WHOLE = {0x03, 0x04, 0x0F}  # the length counts itself


def split(data: bytes) -> Iterator[bytes]:
    """The documents of a batch, one by one."""
    position = 0
    while position < len(data):
        end = position + _int32(data, position)[0]
        yield data[position:end]
        position = end


def source_id(document: bytes) -> bytes:
    """BSON `{"_id": …}` cut out of a raw document; an empty document where there is no `_id` that can be found."""
    position = 4
    while position < len(document) - 1:
        name_end = document.find(b"\0", position + 1)
        end = _value_end(document, document[position], name_end + 1)
        if name_end < 0 or end is None or end > len(document) - 1:
            break
        if document[position + 1 : name_end] == b"_id":
            return struct.pack("<i", end - position + 5) + document[position:end] + b"\0"
        position = end
    return b"\x05\0\0\0\0"


def _value_end(document: bytes, kind: int, start: int) -> int | None:
    if kind in _FIXED:
        return start + _FIXED[kind]
    if kind == 0x0B:  # a regular expression: two C strings
        first = document.find(b"\0", start)
        second = document.find(b"\0", first + 1)
        return None if first < 0 or second < 0 else second + 1
    if start + 4 > len(document):
        return None
    length = int(_int32(document, start)[0])
    if length < 0:
        return None
    if kind in _WHOLE:
        return start + length
    return start + length + _PREFIXED[kind] if kind in _PREFIXED else None
