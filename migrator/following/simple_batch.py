"""Applies the simple changes of a batch, level by level, and returns the changes that are left.

A changed row may have values that documents of other collections carry, for example the owner of a row that they refer
to. The row is updated in place, and these documents are written again from what they were before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from migrator.following.batch import DocumentKey, Newest
from migrator.following.changes import Change, Present
from migrator.following.closure import Closure
from migrator.following.simple import SimpleChanges
from migrator.mapping.collection import Collection
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.rows.encoded import Fields
from migrator.rows.rebuild import read_loaded_fields, rebuild_raw
from migrator.rows.update import batched
from migrator.stages.context import StageContext

CARRYING_DOCUMENTS = 2000  # that are written together

Carrying = dict[bytes, tuple[bytes, Fields, bytes | None]]  # source_id → BSON, fields and residue of the row


@dataclass(kw_only=True)
class SimpleBatch:
    """The documents of a batch that are left. The fields are those of `Applier`.

    Documents that carry changed values and are not simple are added to `left`; all of them to `carrying`.
    """

    stage: StageContext
    levels: list[list[str]]
    resolvers_for: Callable[[list[str]], list[ConflictResolver]]
    never_simple: frozenset[str]
    closure: Closure
    left: Newest
    carrying: set[DocumentKey] = field(default_factory=set)
    _changed: frozenset[DocumentKey] = field(init=False)

    def __post_init__(self) -> None:
        self._changed = frozenset(self.left)

    def apply(self) -> Newest:
        """Apply the simple changes, and return the others."""
        for name in (name for level in reversed(self.levels) for name in level if name not in self.never_simple):
            gone = [source_id for (other, source_id), raw in self.left.items() if other == name and raw is None]
            if gone:
                collection = self.stage.rows.mappings[name]
                self._remove(name, SimpleChanges(self.stage, collection, self.closure).delete(gone))
        for level in self.levels:
            if any(key[0] in level and raw is not None for key, raw in self.left.items()):
                for resolver in self.resolvers_for(level):
                    name = resolver.collection.name
                    there = {key[1]: raw for key, raw in self.left.items() if key[0] == name and raw is not None}
                    if there and name not in self.never_simple:
                        self._remove(name, self._upsert(resolver, there))
        return self.left

    def _remove(self, name: str, done: set[bytes]) -> None:
        for source_id in done:
            self.left.pop((name, source_id), None)

    def _upsert(
        self, resolver: ConflictResolver, documents: Mapping[bytes, bytes], present: Present | None = None
    ) -> set[bytes]:
        """Write documents of one collection, and return those whose change was simple."""
        simple = SimpleChanges(self.stage, resolver.collection, self.closure)
        done, carried = simple.upsert(documents, resolver, present)
        for some in self._portions(resolver.collection, carried):
            carrying = self._carrying(resolver.collection, [each.target_id for each in some])
            simple.update(some, resolver)
            done |= {each.source_id for each in some}
            for name, found in carrying.items():
                self._write_again(name, found)
        return done

    # --- documents that carry changed values --------------------------------------------------------------------------

    def _portions(self, collection: Collection, changes: list[Change]) -> Iterator[list[Change]]:
        """Divide changes so that few documents carry values of each part, or one change is alone."""
        if not changes:
            return
        counts = self.closure.count_children(collection, [each.target_id for each in changes])
        part: list[Change] = []
        size = 0
        for each in changes:
            count = counts[each.target_id]
            if part and size + count > CARRYING_DOCUMENTS:
                yield part
                part, size = [], 0
            part.append(each)
            size += count
        yield part

    def _carrying(self, collection: Collection, ids: list[str]) -> dict[str, Carrying]:
        """Return the documents that carry values of rows, by collection, before these change.

        Without those of the batch: they are written as what they are now.
        """
        found: dict[str, Carrying] = defaultdict(dict)
        for name, children in self.closure.children_of(collection, ids).items():
            child = self.stage.rows.mappings[name]
            loaded = read_loaded_fields(self.stage.rows, child, sorted(children)) if children else ()
            for source_id, row, residue, fields in loaded:
                if (name, source_id) not in self._changed and (name, source_id) not in self.left:
                    raw = rebuild_raw(child, source_id, row, residue)
                    found[name][source_id] = raw, fields[: len(child.columns)], residue
        return found

    def _write_again(self, name: str, documents: Carrying) -> None:
        self.carrying |= {(name, source_id) for source_id in documents}
        is_read = not self.stage.rows.mappings[name].filled_later  # else the fields are those of other columns
        for some in batched(documents.items(), CARRYING_DOCUMENTS):
            there = {source_id: raw for source_id, (raw, _, _) in some}
            present = {source_id: (fields, residue) for source_id, (_, fields, residue) in some} if is_read else None
            done: set[bytes] = set()
            if name not in self.never_simple:
                for resolver in self.resolvers_for([name]):
                    done |= self._upsert(resolver, there, present)
            self.left |= {(name, source_id): raw for source_id, raw in there.items() if source_id not in done}
