"""Counts the fields of raw BSON documents by path and type. `FieldCounter` is compiled if possible.

A document counts once for each of its paths, and once for each type that the path has in it. A damaged document is
read up to the error.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from migrator.documents import native
from migrator.documents.raw_bson import document_offsets, value_end

# An object whose keys are data (for example, user IDs) has too many paths for a list; the others are only counted.
MOST_COUNTED = 10_000
LONGEST_PATH = 500  # bytes; keys can be data, and each level contains the keys of the levels above

_NAMES: Final = {
    0x01: "double", 0x02: "string", 0x03: "object", 0x04: "array", 0x05: "binData", 0x06: "undefined",
    0x07: "objectId", 0x08: "bool", 0x09: "date", 0x0A: "null", 0x0B: "regex", 0x0C: "dbPointer", 0x0D: "javascript",
    0x0E: "symbol", 0x0F: "javascriptWithScope", 0x10: "int", 0x11: "timestamp", 0x12: "long", 0x13: "decimal",
    0x7F: "maxKey", 0xFF: "minKey",
}  # fmt: skip
_NEVER_EMPTY: Final = frozenset((0x02, 0x03, 0x04, 0x0D, 0x0E, 0x0F))  # types that take five bytes or more
_ROOT, _NONE = 0, -1

Counted = tuple[str, int, dict[int, int]]  # path, documents that have it, BSON type → documents


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCounts:
    """The fields of some documents of a collection, in the order in which they were found. Picklable.

    `beyond`: the number of values at paths that are not in `fields`.
    """

    collection: str
    documents: int
    bytes: int
    fields: list[Counted]
    beyond: int


@dataclass(slots=True)
class _Node:
    path: str
    size: int  # bytes of the path
    is_rest: bool = False
    documents: int = 0
    last_document: int = 0
    types: Counter[int] = field(default_factory=Counter)
    last_types: dict[int, int] = field(default_factory=dict)


class PythonFieldCounter:
    """Counts the fields of documents of one collection; of at most `most` paths, in at most `longest` bytes each."""

    def __init__(self, most: int, longest: int) -> None:
        self._most, self._longest = most, longest
        self._nodes = [_Node("", 0)]
        self._children: dict[tuple[int, bytes | None], int] = {}  # no name: the elements of an array
        self._rests: dict[int, int] = {}
        self.documents = self.beyond = 0

    def observe(self, data: bytes) -> None:
        """Count the fields of the documents of a batch. Raises: ValueError if a length does not fit."""
        for start in document_offsets(data):
            self.documents += 1
            left = [(start, _ROOT, False)]
            while left and self._walk(data, *left.pop(), left):
                pass

    def fields(self) -> list[Counted]:
        """Return each path with the number of documents that have it, and that of each of its types."""
        return [(each.path, each.documents, dict(sorted(each.types.items()))) for each in self._nodes[1:]]

    def _walk(self, data: bytes, start: int, node: int, is_array: bool, left: list[tuple[int, int, bool]]) -> bool:
        """Count the fields of a document or array, and add those within them to `left`. Return whether it is valid."""
        last = start + struct.unpack_from("<i", data, start)[0] - 1
        if data[last]:
            return False
        position = start + 4
        while position < last:
            name_end = data.find(b"\0", position + 1, last)
            kind = data[position]
            end = value_end(data, kind, name_end + 1) if name_end >= 0 else None
            if end is None or end > last or (kind in _NEVER_EMPTY and end - name_end < 6):
                return False
            child = self._child(node, None if is_array else data[position + 1 : name_end])
            self._count(child, kind)
            if kind in (0x03, 0x04):
                left.append((name_end + 1, child, kind == 0x04))
            position = end
        return bool(position == last)

    def _count(self, index: int, kind: int) -> None:
        if index == _NONE:
            self.beyond += 1
            return
        node = self._nodes[index]
        if node.last_document != self.documents:
            node.last_document = self.documents
            node.documents += 1
        if node.last_types.get(kind) != self.documents:
            node.last_types[kind] = self.documents
            node.types[kind] += 1

    def _child(self, parent: int, name: bytes | None) -> int:
        if parent == _NONE:
            return _NONE
        if (found := self._children.get((parent, name))) is not None:
            return found
        node = self._nodes[parent]
        if node.is_rest:
            return parent
        size = node.size + (2 if name is None else 1 + len(name))
        if size > self._longest:
            if parent not in self._rests:
                self._rests[parent] = self._new_node(_Node(f"{node.path}…", self._longest, is_rest=True))
            return self._rests[parent]
        if name is None:
            path = f"{node.path}[]"
        else:
            text = name.decode(errors="replace")
            path = f"{node.path}.{text}" if parent else text
        created = self._new_node(_Node(path, size))
        if created != _NONE:
            self._children[parent, name] = created
        return created

    def _new_node(self, node: _Node) -> int:
        """Return the index of a new node; `_NONE` if there are too many."""
        if len(self._nodes) > self._most:
            return _NONE
        self._nodes.append(node)
        return len(self._nodes) - 1


FieldCounter = PythonFieldCounter if native.FieldCounter is None else native.FieldCounter


def take_counts(counter: PythonFieldCounter | native.FieldCounter, collection: str, size: int) -> FieldCounts:
    """Return what a counter has found in documents of `size` bytes."""
    fields, documents, beyond = counter.fields(), counter.documents, counter.beyond
    return FieldCounts(collection=collection, documents=documents, bytes=size, fields=fields, beyond=beyond)


def name_types(types: Mapping[int, int]) -> dict[str, int]:
    """Return name of a BSON type → its number."""
    return {_NAMES[kind]: count for kind, count in types.items()}
