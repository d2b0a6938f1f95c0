"""Encodes and decodes rows of PostgreSQL's binary COPY format: plain values ↔ bytes, by column type."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Any

from migrator.documents import jsonb

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

# Microseconds and days from 1970-01-01, where plain values start, to 2000-01-01, where PostgreSQL starts.
EPOCH_SHIFT = 946_684_800_000_000
EPOCH_DAYS = 10_957

_length = struct.Struct(">i").pack
_int2 = struct.Struct(">h")
_int4 = struct.Struct(">i")
_int8 = struct.Struct(">q")
_float4 = struct.Struct(">f")
_float8 = struct.Struct(">d")
_count = _int2.pack

Write = Callable[[Any], bytes]
Read = Callable[[bytes], Any]


def _unpack(form: struct.Struct) -> Read:
    unpack = form.unpack
    return lambda data: unpack(data)[0]


def _write_timestamp(plain: int) -> bytes:
    return _int8.pack(plain - EPOCH_SHIFT)


def _read_timestamp(data: bytes) -> int:
    return int(_int8.unpack(data)[0]) + EPOCH_SHIFT


def _write_date(plain: int) -> bytes:
    return _int4.pack(plain - EPOCH_DAYS)


def _read_date(data: bytes) -> int:
    return int(_int4.unpack(data)[0]) + EPOCH_DAYS


def _write_jsonb(plain: Any) -> bytes:
    return b"\x01" + jsonb.to_text(plain).encode()


def _read_jsonb(data: bytes) -> Any:
    return jsonb.from_text(data[1:])


def _write_json(plain: Any) -> bytes:
    return jsonb.to_text(plain).encode()


def _same_bytes(data: bytes) -> bytes:
    return bytes(data)


_NUMERIC = struct.Struct(">hhHh")  # number of digits, weight of the first one, sign, digits after the decimal point
_NEGATIVE, _BASE_DIGITS = 0x4000, 4  # PostgreSQL's digits are those of base 10,000


def _write_numeric(plain: Decimal) -> bytes:
    """Encode a finite number without an exponent."""
    sign, digits, exponent = plain.as_tuple()
    assert isinstance(exponent, int)  # a string for NaN and Infinity, which codecs do not return
    scale = -exponent
    text = "".join(map(str, digits)).rjust(scale, "0")
    whole, fraction = text[: len(text) - scale].lstrip("0"), text[len(text) - scale :]
    whole = whole.rjust(-(-len(whole) // _BASE_DIGITS) * _BASE_DIGITS, "0")
    padded = whole + fraction.ljust(-(-len(fraction) // _BASE_DIGITS) * _BASE_DIGITS, "0")
    groups = [int(padded[at : at + _BASE_DIGITS]) for at in range(0, len(padded), _BASE_DIGITS)]
    weight = len(whole) // _BASE_DIGITS - 1
    while groups and not groups[-1]:
        groups.pop()
    while groups and not groups[0]:
        del groups[0]
        weight -= 1
    negative = _NEGATIVE if sign and groups else 0
    return _NUMERIC.pack(len(groups), weight if groups else 0, negative, scale) + b"".join(map(_int2.pack, groups))


def _read_numeric(data: bytes) -> Decimal:
    count, weight, sign, scale = _NUMERIC.unpack_from(data)
    if sign not in (0, _NEGATIVE):
        return Decimal({0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign])
    groups = struct.unpack_from(f">{count}h", data, _NUMERIC.size)
    number = Decimal(int("".join(f"{group:04d}" for group in groups) or "0"))
    with localcontext(_EXACT):
        value = number.scaleb(_BASE_DIGITS * (weight + 1 - count)).quantize(Decimal(1).scaleb(-scale))
        return -value if sign else value


# PostgreSQL's numbers have more digits than a context of Python has by default.
_EXACT = Context(prec=200_000, Emax=999_999, Emin=-999_999, traps=[InvalidOperation])

_ITEM_OIDS = {
    "uuid": 2950, "jsonb": 3802, "json": 114, "boolean": 16, "smallint": 21, "bigint": 20, "integer": 23, "real": 700,
    "double precision": 701, "numeric": 1700, "timestamp": 1114, "timestamptz": 1184, "date": 1082, "time": 1083,
    "bytea": 17, "text": 25,
}  # fmt: skip
_ARRAY = struct.Struct(">iiI")  # dimensions, whether an item is NULL, OID of the type of the items
_DIMENSION = struct.Struct(">ii")  # length, index of the first item


def _array_writer(item: str) -> Write:
    write, oid = _KINDS[item][0], _ITEM_OIDS[item]

    def write_array(plain: list[Any]) -> bytes:
        if not plain:
            return _ARRAY.pack(0, 0, oid)
        parts = [_ARRAY.pack(1, None in plain, oid), _DIMENSION.pack(len(plain), 1)]
        for value in plain:
            data = None if value is None else write(value)
            parts += (NULL,) if data is None else (_length(len(data)), data)
        return b"".join(parts)

    return write_array


def _array_reader(item: str) -> Read:
    read = _KINDS[item][1]

    return lambda data: [None if each is None else read(each) for each in split_array(data)]


def split_array(data: bytes) -> list[bytes | None]:
    """Return the items of an encoded array of at most one dimension, without decoding."""
    return _split(data, _ARRAY.size + _DIMENSION.size) if _ARRAY.unpack_from(data)[0] else []


_KINDS: dict[str, tuple[Write, Read]] = {
    "uuid": (_same_bytes, _same_bytes),
    "text": (str.encode, lambda data: data.decode()),
    "smallint": (_int2.pack, _unpack(_int2)),
    "integer": (_int4.pack, _unpack(_int4)),
    "bigint": (_int8.pack, _unpack(_int8)),
    "real": (_float4.pack, _unpack(_float4)),
    "double precision": (_float8.pack, _unpack(_float8)),
    "numeric": (_write_numeric, _read_numeric),
    "boolean": (lambda plain: b"\x01" if plain else b"\x00", lambda data: data == b"\x01"),
    "timestamp": (_write_timestamp, _read_timestamp),
    "timestamptz": (_write_timestamp, _read_timestamp),
    "date": (_write_date, _read_date),
    "time": (_int8.pack, _unpack(_int8)),
    "json": (_write_json, jsonb.from_text),
    "jsonb": (_write_jsonb, _read_jsonb),
    "bytea": (_same_bytes, _same_bytes),
    "vector": (_same_bytes, _same_bytes),
}
_KINDS |= {f"{item}[]": (_array_writer(item), _array_reader(item)) for item in _ITEM_OIDS}


def writer(kind: str) -> Write:
    """Return the function that encodes a plain value as the bytes of a field, without the length."""
    return _KINDS[kind][0]


def reader(kind: str) -> Read:
    """Return the function that decodes the bytes of a field to a plain value."""
    return _KINDS[kind][1]


def write_row(values: Sequence[Any], kinds: Sequence[str]) -> bytes:
    """Encode plain values as one tuple."""
    parts = [_count(len(values))]
    for value, kind in zip(values, kinds, strict=True):
        if value is None:
            parts.append(NULL)
        else:
            data = _KINDS[kind][0](value)
            parts += (_length(len(data)), data)
    return b"".join(parts)


def split_row(data: bytes | bytearray | memoryview) -> list[bytes | None]:
    """Return the fields of one encoded tuple: the reverse of `write_row`, without decoding."""
    return _split(data, 2)


def _split(data: bytes | bytearray | memoryview, place: int) -> list[bytes | None]:
    fields: list[bytes | None] = []
    while place < len(data):
        (size,) = _int4.unpack_from(data, place)
        place += 4
        fields.append(None if size < 0 else bytes(data[place : place + size]))
        place += max(size, 0)
    return fields


def read_row(fields: Sequence[bytes | None], kinds: Sequence[str]) -> list[Any]:
    """Decode the fields of one tuple to plain values."""
    return [None if data is None else _KINDS[kind][1](bytes(data)) for data, kind in zip(fields, kinds, strict=True)]
