"""The working state of one batch of dirty keys: which documents are to be resolved again, and what they affect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

DocumentKey = tuple[str, bytes]  # collection, source_id


@dataclass(slots=True)
class Batch:
    """The documents of a batch, and the scope of the steps that complete it.

    `newest`: the current document of every dirty key; None if it is gone. `is_careful`: whether the target has refused
    a row of the batch, so that every row is tried before it is written.
    `queue`: collection → source_id → document, to be resolved again; `resolved`: those that were.
    `groups`: collection → values of `Tree.within`; `references`: table → IDs of rows whose latest values may change;
    `listers`: (collection, path of a member list) → IDs of the listing rows. IDs are text.
    """

    newest: dict[DocumentKey, bytes | None]
    is_careful: bool = False
    queue: dict[str, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    resolved: set[DocumentKey] = field(default_factory=set)
    groups: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    references: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    listers: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    touched: set[str] = field(default_factory=set)

    def enqueue(self, collection: str, documents: Iterable[tuple[bytes, bytes]]) -> None:
        """Add documents (source_id, BSON) to the queue in their newest state, without those that are gone."""
        for source_id, raw in documents:
            newest = self.newest.get((collection, source_id), raw)
            if newest is not None:
                self.queue[collection][source_id] = newest
        self.touched.add(collection)
