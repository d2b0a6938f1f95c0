"""Counts the fields of raw BSON documents: types, lengths, distinct values. `Profiler` is compiled if possible.

The paths of a collection form a tree of nodes. A node is a field, the elements of an array (`ELEMENTS`), or all fields
of an object beyond the limit of distinct names (`OTHERS`), because keys can be data.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from migrator.documents.raw_bson import document_offsets, value_end
from migrator.scaffold import native
from migrator.scaffold.sketch import OBJECT_ID, TEXT, UUID, WHOLE, Budget, PythonSketch, hash_value, recognize_text

FIELD, ELEMENTS, OTHERS = 0, 1, 2  # the kinds of nodes
_DEPTH, _LONGEST_NAME, _LONGEST_VALUE, _SAMPLE_BYTES = 100, 128, 64, 32
_WHOLE_DOUBLES = 2.0**53  # beyond, doubles do not hold every whole number
_NONE = 2**63 - 1
_NEVER_EMPTY: Final = frozenset((0x02, 0x03, 0x04, 0x0D, 0x0E, 0x0F))  # types that take five bytes or more
_ID_CHARACTERS: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-")
_DIGITS: Final = frozenset(b"0123456789")
_COUNTED = ("documents", "empty", "nul", "object_id_texts", "uuid_texts", "id_texts", "whole_doubles")


class _Node:
    def __init__(self, parent: int, name: str, kind: int, most: int, most_keys: int, budget: Budget) -> None:
        self.parent, self.name, self.kind = parent, name, kind
        self.counts: Counter[str] = Counter()
        self.types: Counter[int] = Counter()
        self.last_document = 0
        self.shortest, self.longest, self.length_sum, self.most_items = _NONE, 0, 0, 0
        self.least, self.greatest = _NONE, -_NONE
        self.sample_type = self.same = 0
        self.sample: bytes | None = None
        self.values, self.keys = PythonSketch(most, budget), PythonSketch(most_keys, budget)
        self.fields: dict[bytes, int] = {}
        self.element = self.others = -1

    def describe(self) -> dict[str, Any]:
        has_length, has_number = bool(self.longest or self.counts["empty"]), self.least <= self.greatest
        return {
            "parent": self.parent - 1,
            "name": self.name,
            "kind": self.kind,
            **{name: self.counts[name] for name in _COUNTED},
            "types": dict(sorted(self.types.items())),
            "shortest": self.shortest if has_length else 0,
            "longest": self.longest,
            "length_sum": self.length_sum,
            "most_items": self.most_items,
            "least": self.least if has_number else 0,
            "greatest": self.greatest if has_number else 0,
            "sample_type": self.sample_type,
            "sample": self.sample,
            "same": self.same,
            "values": self.values,
            "keys": self.keys,
        }


class _Damaged(Exception):
    """The rest of the document cannot be read."""


class PythonProfiler:
    """The statistics of the documents of one collection.

    The distinct values of the paths `exact` are counted with `most_keys` slots, of all others with `most_values`. All
    of them together get `most_slots`, of which `left` are left; beyond, their samples become smaller.
    """

    def __init__(
        self,
        exact: Iterable[tuple[str, ...]],
        *,
        most_nodes: int,
        most_children: int,
        most_values: int,
        most_keys: int,
        most_slots: int,
    ) -> None:
        self._budget = Budget(most_slots)
        self._exact = {tuple(path) for path in exact}
        self._most_nodes, self._most_children = most_nodes, most_children
        self._most_values, self._most_keys = most_values, most_keys
        self._nodes = [_Node(-1, "", FIELD, most_values, most_values, self._budget)]
        self.documents = self.damaged = 0

    @property
    def left(self) -> int:
        return self._budget.slots

    def observe(self, data: bytes) -> None:
        """Count the documents of a batch. Raises: ValueError if a length does not fit."""
        for start in document_offsets(data):
            (length,) = struct.unpack_from("<i", data, start)
            self.documents += 1
            try:
                self._walk(data, start, start + length, 0, False, 0)
            except (_Damaged, UnicodeDecodeError):
                self.damaged += 1

    def nodes(self) -> list[dict[str, Any]]:
        """Return the statistics of all paths, parents first."""
        return [node.describe() for node in self._nodes[1:]]

    def _walk(self, data: bytes, start: int, end: int, index: int, is_array: bool, depth: int) -> None:
        length = struct.unpack_from("<i", data, start)[0] if end - start >= 5 else 0
        if length < 5 or length > end - start or data[start + length - 1]:
            raise _Damaged
        last, position, items = start + length - 1, start + 4, 0
        self._nodes[index].counts["empty"] += position == last
        while position < last:
            name_end = data.find(b"\0", position + 1, last)
            if name_end < 0:
                raise _Damaged
            child = self._element(index) if is_array else self._field(index, data[position + 1 : name_end])
            position = self._count_value(data, data[position], name_end + 1, last, child, depth)
            items += 1
        if is_array:
            self._nodes[index].most_items = max(items, self._nodes[index].most_items)

    def _count_value(self, data: bytes, kind: int, start: int, last: int, index: int, depth: int) -> int:
        end = value_end(data, kind, start)
        if end is None or end > last or (kind in _NEVER_EMPTY and end - start < 5):
            raise _Damaged
        node = self._nodes[index]
        node.types[kind] += 1
        if node.last_document != self.documents:
            node.last_document = self.documents
            node.counts["documents"] += 1
        if kind in (0x03, 0x04):
            if depth < _DEPTH:
                self._walk(data, start, end, index, kind == 0x04, depth + 1)
            return end
        if kind == 0x02:
            _count_text(node, data[start + 4 : end - 1])
        elif kind == 0x07:
            node.values.add(hash_value(OBJECT_ID, data[start:end]))
        elif kind in (0x10, 0x12):
            _count_whole(node, int.from_bytes(data[start:end], "little", signed=True))
        elif kind == 0x01:
            (number,) = struct.unpack_from("<d", data, start)
            if abs(number) <= _WHOLE_DOUBLES and number == int(number):
                node.counts["whole_doubles"] += 1
                _count_whole(node, int(number))
        elif kind == 0x09:
            _count_range(node, int.from_bytes(data[start:end], "little", signed=True))
        elif kind == 0x05 and data[start + 4] == 4 and end - start == 21:
            node.counts["uuid_texts"] += 1
            node.values.add(hash_value(UUID, data[start + 5 : end]))
        elif kind == 0x05:
            _count_length(node, end - start - 5)
        _keep_sample(node, kind, data[start:end])
        return end

    def _element(self, parent: int) -> int:
        if self._nodes[parent].element < 0:
            self._nodes[parent].element = self._new_node(parent, "[]", ELEMENTS)
        return self._nodes[parent].element

    def _field(self, parent: int, name: bytes) -> int:
        node = self._nodes[parent]
        if (found := node.fields.get(name)) is not None:
            return found
        text = _decode(name)
        is_full = len(node.fields) >= self._most_children or len(self._nodes) >= self._most_nodes
        if is_full or len(name) > _LONGEST_NAME or text is None:
            if node.others < 0:
                node.others = self._new_node(parent, "*", OTHERS)
            self._nodes[node.others].keys.add(hash_value(*recognize_text(name)))
            return node.others
        node.fields[name] = self._new_node(parent, text, FIELD)
        return node.fields[name]

    def _new_node(self, parent: int, name: str, kind: int) -> int:
        path, above = [name], parent
        while above > 0:
            path.append(self._nodes[above].name)
            above = self._nodes[above].parent
        most = self._most_keys if tuple(reversed(path)) in self._exact else self._most_values
        self._nodes.append(_Node(parent, name, kind, most, self._most_values, self._budget))
        return len(self._nodes) - 1


def _decode(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _count_text(node: _Node, data: bytes) -> None:
    data.decode()
    _count_length(node, len(data))
    node.counts["nul"] += b"\0" in data
    kind, value = recognize_text(data)
    if kind == OBJECT_ID:
        node.counts["object_id_texts"] += 1
    elif kind == UUID:
        node.counts["uuid_texts"] += 1
    elif 0 < len(data) <= _LONGEST_VALUE:
        characters = frozenset(data)
        node.counts["id_texts"] += len(data) >= 12 and characters <= _ID_CHARACTERS and bool(characters & _DIGITS)
    if kind != TEXT or 0 < len(data) <= _LONGEST_VALUE:
        node.values.add(hash_value(kind, value))


def _count_length(node: _Node, length: int) -> None:
    node.length_sum += length
    node.counts["empty"] += not length
    node.shortest, node.longest = min(length, node.shortest), max(length, node.longest)


def _count_whole(node: _Node, number: int) -> None:
    _count_range(node, number)
    node.values.add(hash_value(WHOLE, number.to_bytes(8, "little", signed=True)))


def _count_range(node: _Node, number: int) -> None:
    node.least, node.greatest = min(number, node.least), max(number, node.greatest)


def _keep_sample(node: _Node, kind: int, value: bytes) -> None:
    """Keep the first value, and count the values that equal it."""
    if not node.sample_type:
        node.sample_type, node.sample = kind, value if len(value) <= _SAMPLE_BYTES else None
    node.same += kind == node.sample_type and value == node.sample


Profiler = PythonProfiler if native.Profiler is None else native.Profiler
