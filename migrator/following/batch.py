"""The working state of one batch of dirty keys: which documents are to be resolved again, and what they affect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from migrator.following.member_lists import Listers, expand_lists
from migrator.mapping.collection import Collection
from migrator.rows.store import RowStore

DocumentKey = tuple[str, bytes]  # collection, source_id
Newest = dict[DocumentKey, bytes | None]  # the current document of each; None if it is gone
Refused = Mapping[str, Mapping[bytes, str]]  # collection → source_id → detail of the reject


def group_by_collection(keys: Iterable[DocumentKey]) -> dict[str, list[bytes]]:
    """Return collection → source IDs, in the order of the keys."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for name, source_id in keys:
        found[name].append(source_id)
    return found


@dataclass(slots=True)
class Batch:
    """The documents of a batch, and the scope of the steps that complete it.

    `newest`: the current document of every dirty key; None if it is gone. `refused`: the documents, collection →
    `source_id` → detail, whose rows the target does not let be changed after they are loaded. `is_careful`: whether the
    target has refused a row of the batch, so that every row is tried before it is written.
    `queue`: collection → source_id → document, to be resolved again; `resolved`: those that were.
    `groups`: collection → values of `Tree.within`; `references`: table → IDs of rows whose latest values may change;
    `asked`: collection → IDs that documents asked for, or had, before they were set back.
    `listers`: (collection, path of a member list) → IDs of the listing rows. IDs are text.
    """

    newest: Newest
    refused: Refused = field(default_factory=dict)
    is_careful: bool = False
    queue: dict[str, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    resolved: set[DocumentKey] = field(default_factory=set)
    groups: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    references: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    asked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    listers: Listers = field(default_factory=lambda: defaultdict(set))
    touched: set[str] = field(default_factory=set)

    def note_scope(self, rows: RowStore, collection: Collection, values: Callable[[str], set[str]]) -> None:
        """Record which groups, latest values and member lists rows affect that are removed or added.

        `values` returns the values of a column in these rows.
        """
        if collection.tree is not None:
            self.groups[collection.name] |= values(collection.tree.within)
        for latest in collection.latest_values:
            self.references[latest.table] |= values(latest.reference_column)
        expand_lists(rows, collection, values, self.listers)

    def enqueue(self, collection: str, documents: Iterable[tuple[bytes, bytes]]) -> None:
        """Add documents (source_id, BSON) to the queue in their newest state, without those that are gone."""
        for source_id, raw in documents:
            newest = self.newest.get((collection, source_id), raw)
            if newest is not None:
                self.queue[collection][source_id] = newest
        self.touched.add(collection)
