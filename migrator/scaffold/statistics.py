"""What was found in a source: the statistics of each path, and the indexes, as plain values.

Not here: counting (profiler.py), and what follows from the statistics (draft.py, references.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from migrator.scaffold.indexes import Index, Validator
from migrator.scaffold.profiler import ELEMENTS, OTHERS
from migrator.scaffold.sketch import Sketch

DOUBLE, STRING, OBJECT, ARRAY, BINARY, UNDEFINED, OBJECT_ID, BOOLEAN, DATE, NULL = range(1, 11)
INT32, TIMESTAMP, INT64, DECIMAL = 0x10, 0x11, 0x12, 0x13
TYPE_NAMES: Final = {
    DOUBLE: "double", STRING: "string", OBJECT: "object", ARRAY: "array", BINARY: "binData", UNDEFINED: "undefined",
    OBJECT_ID: "objectId", BOOLEAN: "bool", DATE: "date", NULL: "null", 0x0B: "regex", 0x0C: "dbPointer",
    0x0D: "javascript", 0x0E: "symbol", 0x0F: "javascriptWithScope", INT32: "int", TIMESTAMP: "timestamp",
    INT64: "long", DECIMAL: "decimal", 0x7F: "maxKey", 0xFF: "minKey",
}  # fmt: skip
Path = tuple[str, ...]  # names of fields; `[]` for the elements of an array, `*` for names beyond the limit


def dotted(path: Path) -> str:
    """Return a path as text: ("items", "[]", "price") is items[].price."""
    return ".".join(path).replace(".[]", "[]")


@dataclass(slots=True, kw_only=True, eq=False)
class FieldStatistics:
    """The statistics of one path. Each name is as in `profiler`; `documents` counts documents, all others count values.

    `object_id_texts` and `uuid_texts` are texts in the form of such an ID (or a UUID in binary form), `id_texts` texts
    that look like another ID. `least` and `greatest` are those of whole numbers, and of dates in milliseconds. `sample`
    is the first value in BSON, `same` the number of values that equal it.
    """

    path: Path
    kind: int
    documents: int
    types: dict[int, int]
    empty: int
    nul: int
    object_id_texts: int
    uuid_texts: int
    id_texts: int
    whole_doubles: int
    shortest: int
    longest: int
    length_sum: int
    most_items: int
    least: int
    greatest: int
    sample_type: int
    sample: bytes | None
    same: int
    values: Sketch
    keys: Sketch
    parent: FieldStatistics | None = field(default=None, repr=False)
    fields: list[FieldStatistics] = field(default_factory=list, repr=False)
    elements: FieldStatistics | None = field(default=None, repr=False)
    others: FieldStatistics | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def occurrences(self) -> int:
        """The number of values, null included."""
        return sum(self.types.values())

    @property
    def filled(self) -> int:
        """The number of values that are not null."""
        return self.occurrences - self.types.get(NULL, 0) - self.types.get(UNDEFINED, 0)

    def count(self, *types: int) -> int:
        """Return the number of values of these types."""
        return sum(self.types.get(each, 0) for each in types)

    def describe_types(self) -> str:
        """Return the types with their numbers, the most frequent first: 'string 12, null 3'."""
        ordered = sorted(self.types.items(), key=lambda each: (-each[1], each[0]))
        return ", ".join(f"{TYPE_NAMES.get(kind, str(kind))} {count:,}" for kind, count in ordered)

    def below(self) -> Iterator[FieldStatistics]:
        """Yield all paths below this one."""
        for each in (*self.fields, *filter(None, (self.elements, self.others))):
            yield each
            yield from each.below()


@dataclass(slots=True, kw_only=True, eq=False)
class CollectionStatistics:
    """The statistics of one collection. `damaged`: documents that could be read in part only."""

    name: str
    documents: int
    bytes: int
    damaged: int
    fields: list[FieldStatistics]
    indexes: tuple[Index, ...] = ()
    validator: Validator = field(default_factory=Validator)

    def walk(self) -> Iterator[FieldStatistics]:
        """Yield all paths, parents first."""
        for each in self.fields:
            yield each
            yield from each.below()

    def find(self, *path: str) -> FieldStatistics | None:
        """Return the statistics of a path; None if no document has it."""
        return next((each for each in self.walk() if each.path == path), None)


def build_fields(nodes: Sequence[dict[str, Any]]) -> list[FieldStatistics]:
    """Return the top-level fields of a profile, with all paths below them."""
    built: list[FieldStatistics] = []
    top: list[FieldStatistics] = []
    for node in nodes:
        described = {key: value for key, value in node.items() if key not in ("parent", "name")}
        parent = built[node["parent"]] if node["parent"] >= 0 else None
        path = (*(parent.path if parent else ()), node["name"])
        statistics = FieldStatistics(path=path, parent=parent, **described)
        built.append(statistics)
        if parent is None:
            top.append(statistics)
        elif statistics.kind == ELEMENTS:
            parent.elements = statistics
        elif statistics.kind == OTHERS:
            parent.others = statistics
        else:
            parent.fields.append(statistics)
    return top
