"""The order of `_id`s: MongoDB's comparison order over all BSON types, read from the BSON itself.

Raw BSON is compared, not decoded values, because decoding loses types: a symbol becomes a text, a DBRef an object.
Values that MongoDB considers equal (1 and 1.0) are ordered by their bytes, so that the order is always total.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from bson import Decimal128

from migrator.documents.raw_bson import find_decoding_risk

# BSON type → its place in the comparison order, as MongoDB's `canonicalizeBSONType` defines it.
_RANKS: Final = {
    0xFF: -1,  # MinKey
    0x06: 0,  # undefined
    0x0A: 5,  # null
    0x01: 10, 0x10: 10, 0x12: 10, 0x13: 10,  # double, int, long, decimal
    0x02: 15, 0x0E: 15,  # string, symbol
    0x03: 20,  # object
    0x04: 25,  # array
    0x05: 30,  # binary
    0x07: 35,  # ObjectId
    0x08: 40,  # boolean
    0x09: 45,  # date
    0x11: 47,  # timestamp
    0x0B: 50,  # regular expression
    0x0C: 55,  # DBPointer
    0x0D: 60,  # code
    0x0F: 65,  # code with scope
    0x7F: 127,  # MaxKey
}  # fmt: skip
_MISSING = 0  # no `_id`: as undefined
_INVALID = 128  # after all others
_KIND_WITHOUT_VALUE = frozenset({0xFF, 0x06, 0x0A, 0x7F})

Key = tuple[int, Any]  # rank, value; values of the same rank can be compared
Read = tuple[Any, int]  # value, position after it


def id_order(source_id: bytes) -> tuple[int, Any, bytes]:
    """Return a sort key for BSON `{"_id": …}` with a value of any type; `{}` is a missing `_id`."""
    if find_decoding_risk(source_id):
        return _INVALID, b"", source_id
    try:
        elements = _read_elements(source_id, 0)[0]
    except (IndexError, ValueError, KeyError, struct.error, ArithmeticError):
        return _INVALID, b"", source_id
    rank, _, value = elements[0] if elements else (_MISSING, b"", b"")
    return rank, value, source_id


def _read_elements(data: bytes, start: int) -> tuple[tuple[tuple[int, bytes, Any], ...], int]:
    """Return (rank, name, value) of each element of the document at a position: objects are compared in this order."""
    end = start + _unpack("<i", data, start)
    if not start + 5 <= end <= len(data) or data[end - 1]:
        raise ValueError("invalid length")
    position, elements = start + 4, []
    while position < end - 1:
        kind = data[position]
        name, position = _read_c_string(data, position + 1)
        value, position = _read_value(kind, data, position)
        elements.append((_RANKS[kind], name, value))
    if position != end - 1:
        raise ValueError("invalid length")
    return tuple(elements), end


def _read_value(kind: int, data: bytes, start: int) -> Read:
    return (b"", start) if kind in _KIND_WITHOUT_VALUE else _READERS[kind](data, start)


def _unpack(form: str, data: bytes, start: int) -> Any:
    return struct.unpack_from(form, data, start)[0]


def _read_c_string(data: bytes, start: int) -> tuple[bytes, int]:
    end = data.index(b"\0", start)
    return data[start:end], end + 1


def _read_string(data: bytes, start: int) -> tuple[bytes, int]:
    end = start + 4 + _take_length(data, start)
    return data[start + 4 : end - 1], end


def _take_length(data: bytes, start: int) -> int:
    length = int(_unpack("<i", data, start))
    if not 0 <= length <= len(data) - start - 4:
        raise ValueError("invalid length")
    return length


def _read_number(form: str, data: bytes, start: int) -> Read:
    return _order_number(_unpack(form, data, start)), start + struct.calcsize(form)


def _read_decimal(data: bytes, start: int) -> Read:
    return _order_number(Decimal128.from_bid(data[start : start + 16]).to_decimal()), start + 16


def _order_number(number: float | Decimal) -> tuple[int, Any]:
    """NaN is smaller than all other numbers. Numbers of different types are compared exactly."""
    number = Decimal(number)
    if number.is_nan():
        return 0, 0
    if number.is_infinite():
        return (3, 0) if number > 0 else (1, 0)
    return 2, number


def _read_binary(data: bytes, start: int) -> Read:
    """Binary values are ordered by length, then subtype, then bytes."""
    length = _take_length(data, start)
    end = start + 5 + length
    return (length, data[start + 4], data[start + 5 : end]), end


def _read_fixed(size: int, data: bytes, start: int) -> Read:
    return data[start : start + size], start + size


def _read_packed(form: str, data: bytes, start: int) -> Read:
    return _unpack(form, data, start), start + 8


def _read_regex(data: bytes, start: int) -> Read:
    pattern, start = _read_c_string(data, start)
    flags, start = _read_c_string(data, start)
    return (pattern, flags), start


def _read_pointer(data: bytes, start: int) -> Read:
    """DBPointers are ordered by the length of the namespace, then by the bytes."""
    namespace, end = _read_string(data, start)
    return (len(namespace), namespace, data[end : end + 12]), end + 12


def _read_scoped_code(data: bytes, start: int) -> Read:
    code, position = _read_string(data, start + 4)
    scope, end = _read_elements(data, position)
    return (code, scope), end


_READERS: Final[dict[int, Callable[[bytes, int], Read]]] = {
    0x01: lambda data, start: _read_number("<d", data, start),
    0x10: lambda data, start: _read_number("<i", data, start),
    0x12: lambda data, start: _read_number("<q", data, start),
    0x13: _read_decimal,
    0x02: _read_string,
    0x0E: _read_string,
    0x0D: _read_string,
    0x03: _read_elements,
    0x04: _read_elements,
    0x05: _read_binary,
    0x07: lambda data, start: _read_fixed(12, data, start),
    0x08: lambda data, start: _read_fixed(1, data, start),
    0x09: lambda data, start: _read_packed("<q", data, start),
    0x11: lambda data, start: _read_packed("<Q", data, start),
    0x0B: _read_regex,
    0x0C: _read_pointer,
    0x0F: _read_scoped_code,
}
