"""Reads raw BSON without decoding it: the documents of a batch, the `_id` of a document, its depth of nesting.

This is for documents that are archived, that cannot be decoded, or that would be dangerous to decode.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from migrator.documents import native

_int32 = struct.Struct("<i").unpack_from

# Size of values by BSON type, for types of fixed size.
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0xFF: 0, 0x7F: 0}
_PREFIXED = {0x02: 4, 0x0D: 4, 0x0E: 4, 0x05: 5, 0x0C: 16}  # bytes in addition to the stored length
_SCALARS = {0x01, 0x02, 0x08, 0x0A, 0x10, 0x12}  # double, string, boolean, null, int, long
_SELF_SIZED = {0x03, 0x04, 0x0F}  # the stored length includes its own bytes

# MongoDB stores 100 levels and transfers 200. The limit of Python depends on the depth of the call stack, so the same
# document may be decoded in one function but not in another. Deeper documents are therefore never decoded.
MAX_DEPTH = 200
_MIN_BYTES = 5  # bytes of a document
_LEVEL_BYTES = 7  # the least that one level takes: type, empty name, length, end
# MongoDB stores 16 MiB and transfers 16 KiB more. The largest decoded size measured for this limit is 0.6 GB. A dump
# may contain larger documents, which MongoDB has not written.
MAX_BYTES = (16 << 20) + (64 << 10)


def document_at(data: bytes, position: int) -> bytes:
    """Return the document of a batch that starts at a position. Raises: ValueError if its length does not fit."""
    return data[position : _end_at(data, position)]


def document_offsets(data: bytes) -> Iterator[int]:
    """Yield the offsets of the documents of a batch. Raises: ValueError if a length does not fit."""
    position = 0
    while position < len(data):
        yield position
        position = _end_at(data, position)


def split_documents(data: bytes) -> Iterator[bytes]:
    """Yield the documents of a batch. Raises: ValueError if a length does not fit."""
    position = 0
    while position < len(data):
        end = _end_at(data, position)
        yield data[position:end]
        position = end


def documents_by_id(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return (source_id, document) for each document of a batch. Raises: ValueError if a length does not fit."""
    found = native.documents_by_id(data)
    return [(source_id(raw), raw) for raw in split_documents(data)] if found is None else found


def _end_at(data: bytes, position: int) -> int:
    length = _int32(data, position)[0] if len(data) - position >= _MIN_BYTES else 0
    if not _MIN_BYTES <= length <= len(data) - position:
        raise ValueError("the length of a document does not fit the batch")
    return int(position + length)


def source_id(document: bytes) -> bytes:
    """Return BSON `{"_id": …}` of a raw document; an empty document if no `_id` can be found."""
    found = native.source_id(document)
    return _find_source_id(document) if found is None else found


def _find_source_id(document: bytes) -> bytes:
    position = 4
    while position < len(document) - 1:
        name_end = document.find(b"\0", position + 1)
        end = value_end(document, document[position], name_end + 1)
        if name_end < 0 or end is None or end > len(document) - 1:
            break
        if document[position + 1 : name_end] == b"_id":
            return struct.pack("<i", end - position + 5) + document[position:end] + b"\0"
        position = end
    return b"\x05\0\0\0\0"


def find_decoding_risk(document: bytes) -> str:
    """Return why a document is dangerous to decode; '' if it is not."""
    if len(document) > MAX_BYTES:
        return f"larger than {MAX_BYTES:,} bytes, the limit of MongoDB"
    return f"nested deeper than {MAX_DEPTH} levels" if is_too_deep(document) else ""


def is_too_deep(document: bytes) -> bool:
    """Return whether documents and arrays are nested deeper than `MAX_DEPTH`. Invalid BSON is read up to the error.

    It is called for every document. Nearly all are short, or have few bytes with the values of the two types: for
    these it is cheap.
    """
    if len(document) <= MAX_DEPTH * _LEVEL_BYTES or document.count(0x03) + document.count(0x04) <= MAX_DEPTH:
        return False
    ends, position = [len(document) - 1], 4
    while ends:
        if position >= ends[-1]:  # the zero byte at the end
            position = ends.pop() + 1
            continue
        bson_type, name_end = document[position], document.find(b"\0", position + 1)
        end = value_end(document, bson_type, name_end + 1)
        if name_end < 0 or end is None or not position < end <= ends[-1]:
            return False
        if bson_type in (0x03, 0x04):
            if len(ends) > MAX_DEPTH:
                return True
            ends.append(end - 1)
            position = name_end + 5
        else:
            position = end
    return False


def is_overlapping(document: bytes) -> bool:
    """Return whether an embedded document, array or code with scope is longer than what it is in.

    The driver reads bytes after such a document, so that its error depends on the memory there.
    """
    left = [(4, len(document) - 1)]
    while left:
        position, last = left.pop()
        while position < last:
            bson_type, name_end = document[position], document.find(b"\0", position + 1)
            end = value_end(document, bson_type, name_end + 1)
            if name_end < 0 or end is None or end <= position:
                return False
            if end > last:
                return bson_type in _SELF_SIZED
            if bson_type in (0x03, 0x04):
                left.append((name_end + 5, end - 1))
            position = end
    return False


def duplicate_fields(document: bytes) -> list[str]:
    """Return the paths of the fields that a document, or an object in it, has more than once.

    Invalid BSON is read up to the error.
    """
    found: dict[str, None] = {}
    left = [(4, len(document) - 1, "")]
    while left:
        position, last, prefix = left.pop()
        names: set[bytes] = set()
        while position < last:
            name_end = document.find(b"\0", position + 1)
            end = value_end(document, document[position], name_end + 1)
            if name_end < 0 or end is None or not position < end <= last:
                break
            name = document[position + 1 : name_end]
            path = f"{prefix}{name.decode(errors='replace')}"
            if name in names:
                found[path] = None
            names.add(name)
            if document[position] in (0x03, 0x04):
                left.append((name_end + 5, end - 1, f"{path}."))
            position = end
    return list(found)


def scalar_fields(document: bytes, limit: int) -> bytes | None:
    """Return a document with only the fields that hold a scalar, such as a string; None for more than `limit` fields.

    This avoids decoding the other fields.
    """
    position = 4
    parts: list[bytes] = []
    for _ in range(limit + 1):
        if position >= len(document) - 1:
            body = b"".join(parts)
            return struct.pack("<i", len(body) + 5) + body + b"\0"
        name_end = document.find(b"\0", position + 1)
        end = value_end(document, document[position], name_end + 1)
        if name_end < 0 or end is None or end > len(document) - 1:
            return document  # damaged: decoding it will raise the error
        if document[position] in _SCALARS:
            parts.append(document[position:end])
        position = end
    return None


def value_end(document: bytes, bson_type: int, start: int) -> int | None:
    if bson_type in _FIXED:
        return start + _FIXED[bson_type]
    if bson_type == 0x0B:  # a regular expression: two C strings
        first = document.find(b"\0", start)
        second = document.find(b"\0", first + 1)
        return None if first < 0 or second < 0 else second + 1
    if start + 4 > len(document):
        return None
    length = int(_int32(document, start)[0])
    if length < 0:
        return None
    if bson_type in _SELF_SIZED:
        return start + length
    return start + length + _PREFIXED[bson_type] if bson_type in _PREFIXED else None
