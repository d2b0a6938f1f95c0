"""The part of a compiled function that makes the bytes of a row: expressions for one tuple of binary COPY.

What is known beforehand is joined into literals, and what a `Memo` knows comes as its runs. See compile.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from migrator.translation import rows
from migrator.translation.context import Row

_length = struct.Struct(">i").pack
_FIXED = {"uuid": 16, "integer": 4, "boolean": 1, "timestamp": 8}

Column = tuple[str, str]  # name, kind


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring columns that are known in the same way: literally, from a memo, or one by one (`known` is "")."""

    known: str
    columns: tuple[Column, ...]


def runs_of(table: sa.Table, literal: Collection[str], familiar: Collection[str]) -> list[Run]:
    """The table's columns as runs; a literal run next to a familiar one becomes a part of it."""
    marked = [(_how(name, literal, familiar), (name, kind)) for name, kind in rows.kinds_of_table(table)]
    runs = [Run(known, tuple(c for _, c in group)) for known, group in groupby(marked, lambda pair: pair[0])]
    merged: list[Run] = []
    for run in runs:
        if merged and {merged[-1].known, run.known} == {"literal", "familiar"}:
            run = Run("familiar", merged.pop().columns + run.columns)
        merged.append(run)
    return merged


def _how(name: str, literal: Collection[str], familiar: Collection[str]) -> str:
    return "literal" if name in literal else "familiar" if name in familiar else ""


@dataclass(slots=True)
class Packing:
    """Writes the expressions. `locals_` are the locals of plain values, `fragments` those of the familiar runs."""

    table: sa.Table
    constants: Row
    locals_: Mapping[str, str]
    bind: Callable[[str, Any], str]
    lines: list[str] = field(default_factory=list)  # what has to stand before the expressions

    def parts(self, runs: list[Run], fragments: Iterator[str]) -> Iterator[str]:
        """Expressions for bytes, to be joined."""
        literal = struct.pack(">h", len(self.table.columns))
        for run in runs:
            if run.known == "literal":
                values = [self.constants.get(name) for name, _ in run.columns]
                literal += rows.write_row(values, [kind for _, kind in run.columns])[2:]
            elif run.known == "familiar":
                yield from self._literal(literal)
                yield next(fragments)
                literal = b""
            else:
                for name, kind in run.columns:
                    yield from self._literal(literal + self._size(name, kind))
                    yield from self._value(name, kind)
                    literal = b""
        yield from self._literal(literal)

    def _literal(self, literal: bytes) -> Iterator[str]:
        if literal:
            yield self.bind("bytes", literal)

    def _size(self, name: str, kind: str) -> bytes:
        """The length of a value, where it is always the same."""
        return b"" if self.table.c[name].nullable or kind not in _FIXED else _length(_FIXED[kind])

    def _value(self, name: str, kind: str) -> Iterator[str]:
        local, nullable = self.locals_[name], bool(self.table.c[name].nullable)
        if kind in _FIXED:
            yield _nullable_fixed(local, kind) if nullable else _fixed(local, kind)
            return
        encoded = f"e{local}"
        write = f"{local}.encode()" if kind == "text" else f"{self.bind('write', rows.writer(kind))}({local})"
        if not nullable:
            self.lines.append(f"{encoded} = {write}")
            yield from (f"I(len({encoded}))", encoded)
            return
        self.lines += [f"if {local} is None:", f"    {encoded} = b''; l{encoded} = NULL", "else:"]
        self.lines.append(f"    {encoded} = {write}; l{encoded} = I(len({encoded}))")
        yield from (f"l{encoded}", encoded)


def _fixed(local: str, kind: str) -> str:
    return {
        "uuid": local,
        "integer": f"I({local})",
        "boolean": f"(b'\\x01' if {local} else b'\\x00')",
        "timestamp": f"Q({local} - {rows.EPOCH_SHIFT})",
    }[kind]


def _nullable_fixed(local: str, kind: str) -> str:
    there = f"I2(4, {local})" if kind == "integer" else f"{_length(_FIXED[kind])!r} + {_fixed(local, kind)}"
    return f"(NULL if {local} is None else {there})"
