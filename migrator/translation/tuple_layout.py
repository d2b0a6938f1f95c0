"""The layout of a tuple of binary COPY, and what joins values into its bytes.

Constant parts are joined to literals beforehand, and parts that a memo knows come as bytes (`Run`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby
from typing import Any, Literal

from migrator.ids import uuid_text
from migrator.postgres import copy_format

_length = struct.Struct(">i").pack

Column = tuple[str, str]  # name, kind
Origin = Literal["constant", "memo", "document"]


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring columns whose values have the same origin."""

    origin: Origin
    columns: tuple[Column, ...]


def runs_of(columns: Sequence[Column], constant: Collection[str], memoized: Collection[str]) -> list[Run]:
    """Return the columns of a row as runs. Constant columns next to memoized ones become part of their run."""
    origins = [(_origin_of(name, constant, memoized), (name, kind)) for name, kind in columns]
    runs = [Run(origin, tuple(c for _, c in group)) for origin, group in groupby(origins, lambda pair: pair[0])]
    merged: list[Run] = []
    for run in runs:
        if merged and {merged[-1].origin, run.origin} == {"constant", "memo"}:
            run = Run("memo", merged.pop().columns + run.columns)
        merged.append(run)
    return merged


def _origin_of(name: str, constant: Collection[str], memoized: Collection[str]) -> Origin:
    return "constant" if name in constant else "memo" if name in memoized else "document"


class PartType(IntEnum):
    """The parts of a tuple. LITERAL and FRAGMENT are bytes as they are, the others are values of one field each.

    A field has its length before it; None becomes NULL. UUID_TEXT writes 16 bytes as the text of a UUID. TIMESTAMP
    takes microseconds since 1970.
    """

    LITERAL = 0
    FRAGMENT = 1
    BYTES = 2
    TEXT = 3
    UUID_TEXT = 4
    INTEGER = 5
    BOOLEAN = 6
    TIMESTAMP = 7
    SMALLINT = 8
    BIGINT = 9
    DOUBLE = 10


Parts = Sequence[tuple[PartType, bytes]]  # of a tuple, with the bytes of literals


@dataclass(slots=True)
class Layout:
    """The parts of a tuple with the bytes of literals, and the expressions for the values of all other parts."""

    parts: list[tuple[PartType, bytes]] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def add_literal(self, literal: bytes) -> None:
        """Add constant bytes. Neighbouring literals are joined."""
        if self.parts and self.parts[-1][0] is PartType.LITERAL:
            literal = self.parts.pop()[1] + literal
        self.parts.append((PartType.LITERAL, literal))

    def add(self, part: PartType, value: str) -> None:
        """Add a value by its expression."""
        self.parts.append((part, b""))
        self.values.append(value)


def part_of(column: Column, local: str, bind: Callable[[str, Any], str]) -> tuple[PartType, str]:
    """Return the part for the plain value of a column, and the expression for it."""
    name, kind = column
    if kind in _PARTS:
        return _PARTS[kind], local
    write = bind(f"write_{name}", copy_format.writer(kind))
    return PartType.BYTES, f"(None if {local} is None else {write}({local}))"


_PARTS = {
    "uuid": PartType.BYTES, "bytea": PartType.BYTES, "vector": PartType.BYTES, "text": PartType.TEXT,
    "integer": PartType.INTEGER, "boolean": PartType.BOOLEAN, "timestamp": PartType.TIMESTAMP,
    "timestamptz": PartType.TIMESTAMP, "smallint": PartType.SMALLINT, "bigint": PartType.BIGINT,
    "time": PartType.BIGINT, "double precision": PartType.DOUBLE,
}  # fmt: skip


class TuplePacker:
    """Joins values to a tuple in Python. `native.TuplePacker` does the same, compiled."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __call__(self, *values: Any) -> bytes:
        left = iter(values)
        return b"".join([literal or _pack(part, next(left)) for part, literal in self._parts])


def _pack(part: PartType, value: Any) -> bytes:
    if value is None:
        return copy_format.NULL
    if part is PartType.FRAGMENT:
        return bytes(value)
    data = _WRITERS[part](value)
    return _length(len(data)) + data


_WRITERS: dict[PartType, Callable[[Any], bytes]] = {
    PartType.BYTES: copy_format.writer("bytea"),
    PartType.TEXT: copy_format.writer("text"),
    PartType.UUID_TEXT: lambda value: uuid_text(value).encode(),
    PartType.INTEGER: copy_format.writer("integer"),
    PartType.BOOLEAN: copy_format.writer("boolean"),
    PartType.TIMESTAMP: copy_format.writer("timestamp"),
    PartType.SMALLINT: copy_format.writer("smallint"),
    PartType.BIGINT: copy_format.writer("bigint"),
    PartType.DOUBLE: copy_format.writer("double precision"),
}
