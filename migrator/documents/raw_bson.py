"""What can be told of a document by its raw BSON, undecoded: its `_id`, how deep it is nested.

For what is archived or cannot be decoded, and for what must not be decoded at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_int32 = struct.Struct("<i").unpack_from

# Bytes of a value by element type, where fixed.
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0xFF: 0, 0x7F: 0}
_PREFIXED = {0x02: 4, 0x0D: 4, 0x0E: 4, 0x05: 5, 0x0C: 16}  # bytes beside the announced ones
_PLAIN = {0x01, 0x02, 0x08, 0x0A, 0x10, 0x12}  # double, string, boolean, null, int, long
_WHOLE = {0x03, 0x04, 0x0F}  # the length counts itself

# MongoDB stores 100 levels and passes on 200. Python's own limit depends on who calls: what one function decodes,
# another could not. Deeper documents are therefore decoded by nobody, and kept whole.
MAX_DEPTH = 200
_SHORTEST = 5  # bytes of a document
_LEVEL = 7  # bytes that a level takes at least: type, empty name, length, end
# It stores 16 MiB and passes on 16 KiB more; decoded, the worst of that size takes 0.6 GB here. A dump may hold larger
# ones that no MongoDB has written.
MAX_BYTES = (16 << 20) + (64 << 10)


def document_at(data: bytes, position: int) -> bytes:
    """The document of a batch that begins at a position. Raises ValueError where its length does not fit."""
    return data[position : _end_at(data, position)]


def document_offsets(data: bytes) -> Iterator[int]:
    """Where the documents of a batch begin. Raises ValueError as `document_at`."""
    position = 0
    while position < len(data):
        yield position
        position = _end_at(data, position)


def split_documents(data: bytes) -> Iterator[bytes]:
    """The documents of a batch, one by one."""
    return (document_at(data, start) for start in document_offsets(data))


def _end_at(data: bytes, position: int) -> int:
    length = _int32(data, position)[0] if len(data) - position >= _SHORTEST else 0
    if not _SHORTEST <= length <= len(data) - position:
        raise ValueError("a document's length is not that of the batch")
    return int(position + length)


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


def find_decoding_risk(document: bytes) -> str:
    """What would make a document dangerous to decode; '' for nothing."""
    if len(document) > MAX_BYTES:
        return f"larger than the {MAX_BYTES:,} bytes that MongoDB passes on"
    return f"nested deeper than {MAX_DEPTH} levels" if is_too_deep(document) else ""


def is_too_deep(document: bytes) -> bool:
    """Whether documents and arrays in it are nested deeper than `MAX_DEPTH`; so far as it is BSON at all.

    Asked of every document: one that is short, or has not so many bytes of the two types, as nearly all, costs little.
    """
    if len(document) <= MAX_DEPTH * _LEVEL or document.count(0x03) + document.count(0x04) <= MAX_DEPTH:
        return False
    ends, position = [len(document) - 1], 4
    while ends:
        if position >= ends[-1]:  # the zero byte at the end
            position = ends.pop() + 1
            continue
        kind, name_end = document[position], document.find(b"\0", position + 1)
        end = _value_end(document, kind, name_end + 1)
        if name_end < 0 or end is None or not position < end <= ends[-1]:
            return False
        if kind in (0x03, 0x04):
            if len(ends) > MAX_DEPTH:
                return True
            ends.append(end - 1)
            position = name_end + 5
        else:
            position = end
    return False


def scalar_fields(document: bytes, most: int) -> bytes | None:
    """A document of the fields alone that hold a string, a number or the like; None for more than `most` fields.

    For documents of which only such are of interest: whatever else is in them is not decoded.
    """
    position = 4
    parts: list[bytes] = []
    for _ in range(most + 1):
        if position >= len(document) - 1:
            body = b"".join(parts)
            return struct.pack("<i", len(body) + 5) + body + b"\0"
        name_end = document.find(b"\0", position + 1)
        end = _value_end(document, document[position], name_end + 1)
        if name_end < 0 or end is None or end > len(document) - 1:
            return document  # damaged: whoever decodes it says how
        if document[position] in _PLAIN:
            parts.append(document[position:end])
        position = end
    return None


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
