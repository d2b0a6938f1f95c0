"""The member lists that changes of rows affect: written into the residues before the change, removed after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from bson import ObjectId

from migrator.mapping.collection import Collection
from migrator.reconciliation import membership
from migrator.rows.members import owners_of
from migrator.rows.store import RowStore
from migrator.translation.encoder import objectid_in

Listers = dict[tuple[str, str], set[str]]  # (collection, path of its list) → IDs of the listing rows


def expand_lists(rows: RowStore, collection: Collection, values: Callable[[str], set[str]], expanded: Listers) -> None:
    """Expand the lists of rows of a collection that are about to change, and add them to `expanded`.

    `values` returns the values of a column in these rows. Lists that are in `expanded` already are left.
    """
    for mapping, rule in owners_of(rows.mappings, collection.name):
        known = expanded.setdefault((mapping.name, rule.path), set())
        new = values(rule.reference_column) - known
        if new:
            membership.expand_some(rows, mapping, rule, sorted(new))
            known |= new


def adjust_lists(
    rows: RowStore, collection: Collection, members: Callable[[str], Iterable[tuple[str, bytes]]], *, are_gone: bool
) -> None:
    """Adapt the lists after rows of a collection were added or removed whose documents did not change otherwise.

    `members` returns (value of a column, `source_id`) of these rows.
    """
    for mapping, rule in owners_of(rows.mappings, collection.name):
        changed: dict[str, set[ObjectId]] = defaultdict(set)
        for owner, source_id in members(rule.reference_column):
            objectid = objectid_in(source_id)
            if objectid is not None:  # others are in no list
                changed[owner].add(ObjectId(objectid))
        if changed:
            membership.adjust_some(rows, mapping, rule, changed, are_gone=are_gone)


def compact_lists(rows: RowStore, listers: Listers) -> None:
    """Remove lists from the residues again where the ledger can reproduce them."""
    for mapping in rows.mappings.values():
        for rule in mapping.member_lists:
            ids = sorted(listers.get((mapping.name, rule.path), ()))
            if ids:
                membership.compact_some(rows, mapping, rule, ids)
