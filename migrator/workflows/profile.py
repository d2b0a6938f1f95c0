"""The profile of a collection's documents: paths, BSON types, frequency, and what each field is mapped to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.documents import raw_bson
from migrator.documents.codec import decode_each
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.merges import Merge
from migrator.sources.base import Batch

# An object whose keys are data (for example, user IDs) has too many paths for the list; the others are only counted.
MOST_PATHS = 400
MOST_IN_ONE = 20_000  # distinct paths of one document; a set for each takes 0.3 KB
LONGEST_PATH = 500  # characters; keys can be data, and each level contains the keys of the levels above

_NAMES = {
    "str": "string", "int": "int", "Int64": "long", "float": "double", "bool": "bool", "NoneType": "null",
    "dict": "object", "list": "array", "DatetimeMS": "date", "ObjectId": "objectId", "bytes": "binData",
    "Binary": "binData", "Decimal128": "decimal", "Timestamp": "timestamp", "Regex": "regex", "Code": "javascript",
    "DBRef": "dbPointer", "MinKey": "minKey", "MaxKey": "maxKey",
}  # fmt: skip


@dataclass(slots=True)
class FieldStatistics:
    """The statistics of one collection: documents and bytes read; per path the number of documents and the types.

    `beyond` counts the occurrences of paths that are not listed.
    """

    documents: int = 0
    bytes: int = 0
    present: Counter[str] = field(default_factory=Counter)
    types: dict[str, Counter[str]] = field(default_factory=dict)
    beyond: int = 0

    def observe(self, batch: Batch) -> None:
        """Count the documents of a batch."""
        self.documents += batch.count
        self.bytes += len(batch.data)
        for document in decode_each(batch.data, list(raw_bson.split_documents(batch.data))):
            if document is None:
                continue
            found: dict[str, set[str]] = {}
            _collect(document, "", found)
            for path, kinds in found.items():
                self._count(path, kinds)

    def _count(self, path: str, kinds: set[str]) -> None:
        if path not in self.types and len(self.types) >= MOST_PATHS:
            self.beyond += 1
            return
        self.present[path] += 1
        self.types.setdefault(path, Counter()).update(kinds)

    def as_json(self, mapping: Collection | None, merged: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the fields for the plan; `merged` maps fields of a collection without a mapping."""
        fates = dict(merged or {}) if mapping is None else fates_of(mapping)
        kept = "archive" if mapping is None else "residue"
        return [
            {
                "path": path,
                "types": dict(kinds),
                "present": self.present[path],
                "fate": fate_of(path, fates, kept),
            }
            for path, kinds in self.types.items()
        ]


def _collect(value: Any, path: str, found: dict[str, set[str]]) -> None:
    """Collect the paths, with dots for sub-documents and [] for arrays. An explicit stack allows deep nesting."""
    left = [(value, path)]
    while left:
        here, prefix = left.pop()
        items = here.items() if isinstance(here, dict) else ((None, item) for item in here)
        for name, item in items:
            below = f"{prefix}[]" if name is None else f"{prefix}.{name}" if prefix else str(name)
            below = below if len(below) <= LONGEST_PATH else f"{below[: LONGEST_PATH - 1]}…"
            if len(found) < MOST_IN_ONE or below in found:
                found.setdefault(below, set()).add(_NAMES.get(type(item).__name__, type(item).__name__))
            if isinstance(item, dict | list):
                left.append((item, below))


def fates_of(mapping: Collection) -> dict[str, str]:
    """Return field or path → the columns that it is mapped to, or another fate."""
    fates: dict[str, str] = {}
    for rule in (mapping.key, *mapping.rules):
        columns = ", ".join(column for column in rule.columns if "." not in column)
        for path in (*rule.source_paths, *(rule.restored_fields if columns else ())):
            if columns and columns not in fates.get(path, ""):
                fates[path] = f"{fates[path]}, {columns}" if path in fates else columns
        for path in rule.restored_fields:
            fates.setdefault(path, "implied")
    for child in mapping.children:
        fates |= _fates_of_elements(child, child.path)
    fates["_id"] = fates.get("_id", "ledger")
    return fates


def _fates_of_elements(rule: Children, path: str) -> dict[str, str]:
    """Return path → the table and column of elements; `path.*` stands for their fields without a rule."""
    fates = {path: rule.table.name, f"{path}.*": rule.table.name if rule.values or rule.shape == "map" else "residue"}
    for each in rule.rules:
        if isinstance(each, Children):
            fates |= _fates_of_elements(each, f"{path}.{each.path}")
            continue
        columns = ", ".join(f"{rule.table.name}.{column}" for column in each.columns if "." not in column)
        for name in each.source_paths:
            fates[path if rule.values else f"{path}.{name}"] = columns or "implied"
    return fates


def fates_of_merge(merge: Merge) -> dict[str, str]:
    """Return field → the columns of other tables that it can fill."""
    fates: dict[str, str] = {}
    for fill in merge.fills:
        target = f"{merge.into}.{fill.column}" + (f".{fill.name}" if fill.name is not None else "")
        for name in fill.fields:
            fates[name] = f"{fates[name]}, {target}" if name in fates else target
    return fates


def fate_of(path: str, fates: dict[str, str], kept: str) -> str:
    """Return the fate of a path: its own, that of the nearest field around it, or `kept`."""
    plain = path.replace("[]", "")
    while plain:
        if plain in fates:
            return fates[plain]
        plain = plain.rpartition(".")[0]
        if f"{plain}.*" in fates:
            return fates[f"{plain}.*"]
    return kept
