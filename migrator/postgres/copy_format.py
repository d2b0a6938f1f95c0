"""Encodes and decodes rows of PostgreSQL's binary COPY format: plain values ↔ bytes, by column type."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects import postgresql

from migrator.documents import jsonb

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

# Microseconds from 1970-01-01, where plain values start, to 2000-01-01, where PostgreSQL starts.
EPOCH_SHIFT = 946_684_800_000_000

_length = struct.Struct(">i").pack
_int4 = struct.Struct(">i")
_int8 = struct.Struct(">q")
_count = struct.Struct(">h").pack


def _write_timestamp(plain: int) -> bytes:
    return _int8.pack(plain - EPOCH_SHIFT)


def _read_timestamp(data: bytes) -> int:
    return int(_int8.unpack(data)[0]) + EPOCH_SHIFT


def _write_jsonb(plain: Any) -> bytes:
    return b"\x01" + jsonb.to_text(plain).encode()


def _read_jsonb(data: bytes) -> Any:
    return jsonb.from_text(data[1:])


def _same_bytes(data: bytes) -> bytes:
    return bytes(data)


def _read_int4(data: bytes) -> int:
    return int(_int4.unpack(data)[0])


Write = Callable[[Any], bytes]
Read = Callable[[bytes], Any]

_KINDS: dict[str, tuple[Write, Read]] = {
    "uuid": (_same_bytes, _same_bytes),
    "text": (str.encode, lambda data: data.decode()),
    "integer": (_int4.pack, _read_int4),
    "boolean": (lambda plain: b"\x01" if plain else b"\x00", lambda data: data == b"\x01"),
    "timestamp": (_write_timestamp, _read_timestamp),
    "jsonb": (_write_jsonb, _read_jsonb),
    "bytea": (_same_bytes, _same_bytes),
    "vector": (_same_bytes, _same_bytes),
}


def writer(kind: str) -> Write:
    """Return the function that encodes a plain value as the bytes of a field, without the length."""
    return _KINDS[kind][0]


def reader(kind: str) -> Read:
    """Return the function that decodes the bytes of a field to a plain value."""
    return _KINDS[kind][1]


_TYPES: tuple[tuple[type[Any], str], ...] = (
    (sa.Uuid, "uuid"),
    (postgresql.JSONB, "jsonb"),
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    (sa.DateTime, "timestamp"),
    (sa.String, "text"),  # Text and Enum are Strings
    (VECTOR, "vector"),
)


def kind_of_column(column: sa.Column[Any]) -> str:
    """Return the kind of plain value that a column holds.

    Raises:
        TypeError: the loader does not support the type of the column.
    """
    for type_, kind in _TYPES:
        if isinstance(column.type, type_):
            return kind
    raise TypeError(f"column {column.table.name}.{column.name}: type {column.type!r} is not supported")


def kinds_of_table(table: sa.Table) -> list[tuple[str, str]]:
    """Return (column, kind) of all columns, in the order of the table."""
    return [(column.name, kind_of_column(column)) for column in table.columns]


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


def split_row(data: bytes) -> list[bytes | None]:
    """Return the fields of one encoded tuple: the reverse of `write_row`, without decoding."""
    fields: list[bytes | None] = []
    place = 2
    while place < len(data):
        (size,) = _int4.unpack_from(data, place)
        place += 4
        fields.append(None if size < 0 else data[place : place + size])
        place += max(size, 0)
    return fields


def read_row(fields: Sequence[bytes | None], kinds: Sequence[str]) -> list[Any]:
    """Decode the fields of one tuple to plain values."""
    return [None if data is None else _KINDS[kind][1](bytes(data)) for data, kind in zip(fields, kinds, strict=True)]
