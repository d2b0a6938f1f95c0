"""Counts distinct values in bounded memory, and compares the values of two fields.

A sketch keeps hashes of 64 bits. When it is full, it keeps only those that begin with one more zero bit, which is half
of them, so it holds a sample that depends on the values alone. The samples of two fields can therefore be compared: a
value that both have is in both samples or in none. Up to `most` / 2 values the sketch is exact; beyond, with `kept`
hashes, the number of distinct values has a standard error of 1 / sqrt(kept), below 1.2 % for `most` = 2^15.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Protocol

from migrator.scaffold import native

_SEED, _PRIME, _ALL = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, (1 << 64) - 1
_MIN_SLOTS = 16
OBJECT_ID, UUID, TEXT, WHOLE = 0x07, 0x05, 0x02, 0x12  # the kinds of values that have hashes
_HEX24 = re.compile(rb"[0-9a-f]{24}")
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _mix(one: int, other: int) -> int:
    product = one * other
    return product & _ALL ^ product >> 64


def hash_value(kind: int, data: bytes) -> int:
    """Return a hash of a value that is the same in every process; never 0."""
    state = _mix(_SEED ^ kind, _PRIME ^ len(data))
    for start in range(0, len(data), 8):
        state = _mix(state ^ int.from_bytes(data[start : start + 8], "little"), _PRIME)
    return _mix(state ^ _SEED, _PRIME) or 1


def recognize_text(data: bytes) -> tuple[int, bytes]:
    """Return kind and bytes of the value in a text: an ObjectId or UUID equals its text in lower case."""
    if len(data) == 24 and _HEX24.fullmatch(data):
        return OBJECT_ID, bytes.fromhex(data.decode())
    if len(data) == 36 and _UUID.fullmatch(data):
        return UUID, bytes.fromhex(data.decode().replace("-", ""))
    return TEXT, data


def _hash_text(text: str) -> int:
    """Return the hash that a text has as a value or a key."""
    return hash_value(*recognize_text(text.encode()))


class Sketch(Protocol):
    """A sample of the hashes of distinct values."""

    @property
    def level(self) -> int:
        """The number of zero bits with which the hashes in the sample begin."""
        ...

    @property
    def kept(self) -> int:
        """The number of hashes in the sample."""
        ...

    @property
    def distinct(self) -> int:
        """The number of distinct values; an estimate if `level` is not 0."""
        ...

    def add(self, value: int) -> None:
        """Add a hash."""
        ...

    def __contains__(self, value: int) -> bool:
        """Return whether the sample holds a hash."""
        ...


def compare(one: Sketch, other: Sketch, most: int = 0) -> tuple[int, int]:
    """Return how many of the values that both samples could hold are in `one`, and how many of these in `other`.

    `most`: the number of values to compare; 0: all.
    """
    compared, found = one.shared_with(other, most)  # type: ignore[attr-defined]
    return int(compared), int(found)


class Budget:
    """The number of slots that several sketches may still add."""

    def __init__(self, slots: int) -> None:
        self.slots = slots


class PythonSketch:
    """See `Sketch`. `most`: the largest number of slots, a power of two; half of them are used."""

    def __init__(self, most: int, budget: Budget | None = None) -> None:
        self._most, self._budget = most, budget
        self._slots = _MIN_SLOTS
        self._hashes: set[int] = set()
        self.level = 0

    @property
    def kept(self) -> int:
        return len(self._hashes)

    @property
    def distinct(self) -> int:
        return len(self._hashes) << self.level

    def add(self, value: int) -> None:
        if value >> (64 - self.level):
            return
        self._hashes.add(value)
        while len(self._hashes) * 2 > self._slots - 1:
            if self._slots < self._most and (self._budget is None or self._budget.slots >= self._slots):
                if self._budget is not None:
                    self._budget.slots -= self._slots
                self._slots *= 2
            else:
                self.level += 1
                self._hashes = {each for each in self._hashes if not each >> (64 - self.level)}

    def __contains__(self, value: int) -> bool:
        return value in self._hashes

    def shared_with(self, other: PythonSketch, most: int = 0) -> tuple[int, int]:
        """See `compare`."""
        level = max(self.level, other.level)
        both = (each for each in self._hashes if not each >> (64 - level))
        compared = list(islice(both, most) if most else both)
        return len(compared), sum(each in other for each in compared)


hash_text = _hash_text if native.hash_text is None else native.hash_text
