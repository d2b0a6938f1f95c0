"""The part of a compiled function that makes the bytes of a row: how one tuple of binary COPY is put together.

What is known beforehand is joined into literals, and what a `Memo` knows comes as its runs. See compile.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from migrator.ids import uuid_text
from migrator.postgres import copy_format
from migrator.translation import native

_length = struct.Struct(">i").pack

Column = tuple[str, str]  # name, kind


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring columns that are known in the same way: literally, from a memo, or one by one (`known` is "")."""

    known: str
    columns: tuple[Column, ...]


def runs_of(table: sa.Table, literal: Collection[str], familiar: Collection[str]) -> list[Run]:
    """The table's columns as runs; a literal run next to a familiar one becomes a part of it."""
    marked = [(slot_kind(name, literal, familiar), (name, kind)) for name, kind in copy_format.kinds_of_table(table)]
    runs = [Run(known, tuple(c for _, c in group)) for known, group in groupby(marked, lambda pair: pair[0])]
    merged: list[Run] = []
    for run in runs:
        if merged and {merged[-1].known, run.known} == {"literal", "familiar"}:
            run = Run("familiar", merged.pop().columns + run.columns)
        merged.append(run)
    return merged


def slot_kind(name: str, literal: Collection[str], familiar: Collection[str]) -> str:
    return "literal" if name in literal else "familiar" if name in familiar else ""


class Slot(IntEnum):
    """Parts of a tuple. FRAGMENT: bytes as they are; the others are fields, with their length, and NULL for None.

    UUID_TEXT writes 16 bytes as a UUID's text, TIMESTAMP microseconds since 1970.
    """

    LITERAL = 0
    FRAGMENT = 1
    BYTES = 2
    TEXT = 3
    UUID_TEXT = 4
    INTEGER = 5
    BOOLEAN = 6
    TIMESTAMP = 7


@dataclass(slots=True)
class Layout:
    """Of what a tuple is made: pieces, and the expressions for those that are no literals."""

    pieces: list[tuple[Slot, bytes]] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def add_literal(self, literal: bytes) -> None:
        """Neighbouring literals become one."""
        if self.pieces and self.pieces[-1][0] is Slot.LITERAL:
            literal = self.pieces.pop()[1] + literal
        self.pieces.append((Slot.LITERAL, literal))

    def add(self, piece: Slot, value: str) -> None:
        self.pieces.append((piece, b""))
        self.values.append(value)


def piece_of(kind: str, local: str, bind: Callable[[str, Any], str]) -> tuple[Slot, str]:
    """How a plain value in a local becomes a field of a kind of column, and the expression for it."""
    if kind in _PIECES:
        return _PIECES[kind], local
    return Slot.BYTES, f"(None if {local} is None else {bind('write', copy_format.writer(kind))}({local}))"


_PIECES = {
    "uuid": Slot.BYTES, "bytea": Slot.BYTES, "vector": Slot.BYTES, "text": Slot.TEXT, "integer": Slot.INTEGER,
    "boolean": Slot.BOOLEAN, "timestamp": Slot.TIMESTAMP,
}  # fmt: skip


def packer_of(pieces: Sequence[tuple[Slot, bytes]]) -> Callable[..., bytes]:
    """What joins the values of a layout into a tuple: the fastest there is."""
    return TuplePacker(pieces) if native.Packer is None else native.Packer(pieces, shift=copy_format.EPOCH_SHIFT)


class TuplePacker:
    """Joins by Python's own means. `native.TuplePacker` does the same."""

    def __init__(self, pieces: Sequence[tuple[Slot, bytes]]) -> None:
        self._pieces = pieces

    def __call__(self, *values: Any) -> bytes:
        left = iter(values)
        return b"".join([literal or _pack(piece, next(left)) for piece, literal in self._pieces])


def _pack(piece: Slot, value: Any) -> bytes:
    if value is None:
        return copy_format.NULL
    if piece is Slot.FRAGMENT:
        return bytes(value)
    data = _WRITERS[piece](value)
    return _length(len(data)) + data


_WRITERS: dict[Slot, Callable[[Any], bytes]] = {
    Slot.BYTES: copy_format.writer("bytea"),
    Slot.TEXT: copy_format.writer("text"),
    Slot.UUID_TEXT: lambda value: uuid_text(value).encode(),
    Slot.INTEGER: copy_format.writer("integer"),
    Slot.BOOLEAN: copy_format.writer("boolean"),
    Slot.TIMESTAMP: copy_format.writer("timestamp"),
}
