"""The profile of a collection's documents: paths, BSON types, frequency, and what each field is mapped to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.documents.field_counts import FieldCounts, name_types
from migrator.execution.tasks import TaskResult
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.composite_keys import AnyKey, CompositeKey
from migrator.mapping.key_references import FieldsReference
from migrator.mapping.merges import Merge
from migrator.postgres.table_names import name_of

# An object whose keys are data (for example, user IDs) has too many paths for the list; the others are only counted.
MOST_PATHS = 400


@dataclass(slots=True)
class FieldStatistics:
    """The statistics of one collection: documents and bytes read; per path the number of documents and the types.

    `uncounted` is the number of values at paths that were not counted one by one.
    """

    documents: int = 0
    bytes: int = 0
    present: Counter[str] = field(default_factory=Counter)
    types: dict[str, Counter[int]] = field(default_factory=dict)
    uncounted: int = 0

    @property
    def beyond(self) -> int:
        """The number of values at paths that are not listed."""
        return self.uncounted + sum(self.present[path] for path in list(self.types)[MOST_PATHS:])

    def add(self, counts: FieldCounts) -> None:
        """Add the counts of further documents. Their new paths are listed after the known ones."""
        self.documents += counts.documents
        self.bytes += counts.bytes
        self.uncounted += counts.beyond
        for path, documents, types in counts.fields:
            self.present[path] += documents
            self.types.setdefault(path, Counter()).update(types)

    def as_json(self, mapping: Collection | None, merged: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the fields for the plan; `merged` maps fields of a collection without a mapping."""
        fates = dict(merged or {}) if mapping is None else fates_of(mapping)
        kept = "archive" if mapping is None else "residue"
        return [
            {
                "path": path,
                "types": name_types(kinds),
                "present": self.present[path],
                "fate": fate_of(path, fates, kept),
            }
            for path, kinds in list(self.types.items())[:MOST_PATHS]
        ]


class Profiler:
    """Collects the statistics of all collections from the results of loading, in the order of the tasks."""

    def __init__(self) -> None:
        self.statistics: dict[str, FieldStatistics] = defaultdict(FieldStatistics)
        self._next = 0
        self._early: dict[int, TaskResult] = {}

    def begin(self, collections: Iterable[str]) -> None:
        """Begin the load of some collections. What an earlier load has found in them is forgotten."""
        for name in collections:
            self.statistics.pop(name, None)
        self._next = 0
        self._early.clear()

    def add(self, result: TaskResult) -> None:
        """Add the result of a task, as soon as those of all tasks before it are known."""
        self._early[result.number] = result
        while (first := self._early.pop(self._next, None)) is not None:
            self._next += 1
            if first.fields is not None:
                self.statistics[first.fields.collection].add(first.fields)


def fates_of(mapping: Collection) -> dict[str, str]:
    """Return field or path → the columns that it is mapped to, or another fate."""
    fates: dict[str, str] = {}
    for rule in (part for each in (mapping.key, *mapping.rules) for part in _parts_of(each)):
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


def _parts_of(rule: AnyKey | Rule) -> tuple[AnyKey | Rule, ...]:
    """Return the rules of the single columns of a key, or of a reference by the values of fields."""
    match rule:
        case CompositeKey():
            return rule.parts
        case FieldsReference():
            return rule.fields
    return (rule,)


def _fates_of_elements(rule: Children, path: str) -> dict[str, str]:
    """Return path → the table and column of elements; `path.*` stands for their fields without a rule."""
    fates = {
        path: name_of(rule.table),
        f"{path}.*": name_of(rule.table) if rule.values or rule.shape == "map" else "residue",
    }
    for each in rule.rules:
        if isinstance(each, Children):
            fates |= _fates_of_elements(each, f"{path}.{each.path}")
            continue
        columns = ", ".join(f"{name_of(rule.table)}.{column}" for column in each.columns if "." not in column)
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
