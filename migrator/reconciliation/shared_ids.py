"""Finds the row that a document means by an ID which several documents have, in a collection with `Collection.owner`.

Within one group of rows (`Tree.within`), an ID means the row of the same owner; if that owner has none, the row whose
document has the smallest `_id`. The choice depends on the documents alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection as Sized
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.reconciliation.document_writer import format_owner
from migrator.reconciliation.id_order import id_order
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.rows.rebuild import read_documents
from migrator.rows.store import RowStore
from migrator.translation.encoder import format_target_id

GroupKey = tuple[Any, Any]  # plain ID in the documents, group


@dataclass(frozen=True, slots=True)
class Mention:
    """A row whose document names another one: plain IDs, and the group of the row."""

    row_id: bytes
    named_id: bytes
    within: Any


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A row that an ID may mean. `owner` and `order` are empty for a row that was not loaded by this migration."""

    row_id: bytes
    owner: str
    order: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedIds:
    """The IDs of one collection that several documents have. `within`: the column of the group."""

    rows: RowStore
    collection: Collection
    within: str

    def resolve(self, mentions: Sized[Mention]) -> dict[Mention, bytes]:
        """Return the row that each mention means. Mentions of IDs without a row in their group are left out."""
        groups = self._read_groups({(each.named_id, each.within) for each in mentions})
        several = [each for each in mentions if len(groups.get((each.named_id, each.within), ())) > 1]
        contested = {each.row_id for each in several}
        contested |= {row_id for each in several for row_id in groups[each.named_id, each.within]}
        known = self._describe(contested)
        found = {}
        for each in mentions:
            row_ids = groups.get((each.named_id, each.within), [])
            if len(row_ids) == 1:
                found[each] = row_ids[0]
            elif row_ids:
                found[each] = _choose([known[row_id] for row_id in row_ids], known[each.row_id].owner)
        return found

    def _read_groups(self, wanted: Sized[GroupKey]) -> Mapping[GroupKey, list[bytes]]:
        """Return the plain IDs of the rows that an ID may mean in a group."""
        query = self.rows.namespace.sql(
            "SELECT k.{key}, k.{within}, k.{key} FROM {table} k WHERE k.{key} = ANY(%(ids)s::uuid[])"
            " UNION ALL SELECT a.original_id::uuid, n.{within}, n.{key} FROM {aliases} a"
            " JOIN {table} n ON n.{key} = a.target::uuid"
            " WHERE a.collection = %(name)s AND a.original_id = ANY(%(ids)s::text[])",
            table=self.rows.table(self.collection),
            key=sql.Identifier(self.collection.key.column),
            within=sql.Identifier(self.within),
        )
        values = {"ids": list({format_target_id(named) for named, _ in wanted}), "name": self.collection.name}
        groups: dict[GroupKey, list[bytes]] = defaultdict(list)
        for named, within, row_id in self.rows.connection.execute(query, values):
            groups[named.bytes, within].append(row_id.bytes)
        return groups

    def _describe(self, row_ids: Iterable[bytes]) -> dict[bytes, _Candidate]:
        """Return the owner and the order of rows."""
        known = {row_id: _Candidate(row_id, "", (1,)) for row_id in row_ids}
        if not known:
            return known
        ensure_ledger_indexes(self.rows.connection, self.rows.namespace)
        owner_of = self.collection.owner
        assert owner_of is not None  # only such collections have several documents with one ID
        for source_id, row, document in read_documents(self.rows, self.collection, list(map(format_target_id, known))):
            row_id = row[self.collection.key.column]
            known[row_id] = _Candidate(row_id, format_owner(owner_of(document, row)), (0, *id_order(source_id)))
        return known


def _choose(candidates: list[_Candidate], owner: str) -> bytes:
    own = [each for each in candidates if owner and each.owner == owner]
    return min(own or candidates, key=lambda each: (each.order, each.row_id)).row_id
