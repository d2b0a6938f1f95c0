"""A collection in memory, in ascending order of `_id`, encoded once as the elements of answers.

An answer of the server is a slice of one buffer: the keys of its array are not counted from 0, which no driver looks
at. So an answer costs a copy into the socket, however many documents are in it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import bson
from bson import Binary, ObjectId

from migrator.documents import raw_bson

MOST_BYTES = 16 << 20  # of the documents of an answer
ORDER = ((int | float, 1), (str, 2), (Binary | bytes, 3), (ObjectId, 4), (bool, 5), (datetime, 6))


@dataclass(slots=True)
class Elements:
    """Documents as the elements of a BSON array; `ends[i]` is where document `i` begins."""

    data: memoryview
    ends: array[int]

    @classmethod
    def encode(cls, documents: Iterable[bytes]) -> Elements:
        data, ends = bytearray(), array("Q", [0])
        for number, raw in enumerate(documents):
            data += b"\x03%07d\0" % number
            data += raw
            ends.append(len(data))
        return cls(memoryview(bytes(data)), ends)

    def find_end(self, start: int, stop: int, count: int) -> int:
        """Return the end of an answer from `start` on: at most `count` documents, and `MOST_BYTES` unless it is one."""
        most = bisect_right(self.ends, self.ends[start] + MOST_BYTES) - 1
        return max(min(stop, start + count, most), min(start + 1, stop))

    def cut(self, start: int, end: int) -> memoryview:
        return self.data[self.ends[start] : self.ends[end]]


class ReplayCollection:
    """The documents of one BSON file."""

    def __init__(self, name: str, data: bytes) -> None:
        found = sorted((sort_key(bson.decode(raw_bson.source_id(raw))["_id"]), raw) for raw in split(data))
        self.name, self.size = name, len(data)
        self._keys = [key for key, _ in found]
        self.documents = Elements.encode(raw for _, raw in found)
        self._sources = [raw_bson.source_id(raw) for _, raw in found]

    def __len__(self) -> int:
        return len(self._keys)

    @cached_property
    def ids(self) -> Elements:
        """The documents with their `_id` only."""
        return Elements.encode(self._sources)

    def find_range(self, wanted: dict[str, Any]) -> tuple[int, int]:
        """Return the first document and the one after the last of a condition on `_id`: `$gt`, `$gte`, `$lt`, `$lte`,
        `$eq`. Raises: `ValueError` for any other."""
        start, stop = 0, len(self._keys)
        for operator, value in wanted.items():
            key = sort_key(value)
            if operator in ("$gt", "$gte", "$eq"):
                start = max(start, (bisect_right if operator == "$gt" else bisect_left)(self._keys, key))
            if operator in ("$lt", "$lte", "$eq"):
                stop = min(stop, (bisect_left if operator == "$lt" else bisect_right)(self._keys, key))
            if operator not in ("$gt", "$gte", "$lt", "$lte", "$eq"):
                raise ValueError(f"a condition with {operator}")
        return start, max(start, stop)

    def sample(self, count: int) -> list[bytes]:
        """Return the `_id`s of some documents at equal distances, as documents."""
        step = max(1, len(self._sources) // max(count, 1))
        return self._sources[::step]


def split(data: bytes) -> list[bytes]:
    return [bytes(raw) for raw in raw_bson.split_documents(data)]


def sort_key(value: Any) -> tuple[int, Any]:
    """Return what orders `_id`s as MongoDB does. Raises: `ValueError` for a type that no bench uses."""
    for kind, number in ORDER:
        if isinstance(value, kind) and not (number == 1 and isinstance(value, bool)):
            return number, value
    raise ValueError(f"an _id of the type {type(value).__name__}")
