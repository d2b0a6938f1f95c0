"""Decides again, after a switch back, about everything that depends on several documents, as a new run would.

While PostgreSQL was in use, the application changed rows, and their documents followed. These rows are right by
themselves. But a run would now load other documents (a unique value is free, an owner exists), cut other parents,
and set other latest values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from psycopg import sql

from migrator.following.applier import Applier
from migrator.following.batch import DocumentKey, Newest
from migrator.following.closure import Closure
from migrator.following.interests import loose_lookups, offers_of
from migrator.mapping.collection import Collection, Tree
from migrator.postgres.table_names import name_of
from migrator.reconciliation.latest_values import LatestValue, mapping_of
from migrator.reconciliation.unreturned import apply_unreturned
from migrator.rows.rebuild import read_bson
from migrator.rows.store import RowStore
from migrator.rows.update import batched
from migrator.state import wants
from migrator.state.own_transactions import record_transaction

BATCH = 500  # documents


@dataclass(frozen=True)
class AfterSwitch:
    """Decides about all documents with an applier. Can be repeated after an interruption."""

    applier: Applier

    def decide_again(self, report: Callable[[int], None]) -> int:
        """Decide again; return the number of documents that were resolved. `report` gets it, too, from time to time.

        Call it before the documents that were returned are applied: they tell what the application has changed.
        """
        careful = replace(self.applier, never_simple=frozenset(self._rows.mappings))
        groups = {mapping.name: self._changed_groups(mapping, mapping.tree) for mapping in self._with_trees()}
        done = 0
        for read in (self._read_unloaded, lambda: self._read_undecided(groups)):
            for some in batched(list(read()), BATCH):
                careful.apply([], self._newest(some))
                done += len(some)
                report(done)
        for some in batched(list(self._read_wanting()), BATCH):
            self.applier.apply([], self._newest(some))  # most of them do not change
            done += len(some)
            report(done)
        self._set_latest()
        return done

    @property
    def _rows(self) -> RowStore:
        return self.applier.stage.rows

    def _with_trees(self) -> list[Collection]:
        return [mapping for mapping in self._rows.mappings.values() if mapping.tree is not None]

    # --- which documents ---------------------------------------------------------------------------------------------

    def _read_unloaded(self) -> Iterator[DocumentKey]:
        """Yield the rejected documents, and those that were merged into others, of collections with a mapping."""
        query = self._rows.namespace.sql(
            "SELECT collection, source_id FROM {rejects} WHERE collection = ANY(%(names)s)"
            " UNION SELECT collection, source_id FROM {archive} JOIN {findings} f USING (collection, source_id)"
            " WHERE collection = ANY(%(names)s) AND f.code = 'merged' ORDER BY 1, 2"
        )
        names = [name for level in self.applier.levels for name in level]
        found = self._rows.connection.execute(query, {"names": names}, binary=True).fetchall()
        order = {name: place for place, name in enumerate(names)}
        yield from sorted(((name, bytes(source_id)) for name, source_id in found), key=lambda each: order[each[0]])

    def _changed_groups(self, collection: Collection, tree: Tree | None) -> set[str]:
        """Return the groups of a tree that the application may have changed: of changed rows, or named by them."""
        assert tree is not None  # checked by the caller
        names = {
            "table": self._rows.table(collection),
            "key": sql.Identifier(collection.key.column),
            "within": sql.Identifier(tree.within),
        }
        query = self._rows.namespace.sql(
            "WITH changed AS (SELECT l.collection, l.target_id FROM {dirty} d"
            " JOIN {ledger} l USING (collection, source_id) WHERE l.outcome = 'loaded')"
            " SELECT DISTINCT t.{within}::text FROM {table} t JOIN changed c ON c.target_id = t.{key}::text"
            " WHERE c.collection = %(name)s AND t.{within} IS NOT NULL"
            " UNION SELECT c.target_id FROM changed c WHERE c.collection = ANY(%(parents)s)",
            **names,
        )
        tables = {name_of(key.column.table) for key in collection.table.c[tree.within].foreign_keys}
        parents = [name for name, mapping in self._rows.mappings.items() if name_of(mapping.table) in tables]
        values = {"name": collection.name, "parents": parents}
        return {group for (group,) in self._rows.connection.execute(query, values)}

    def _read_undecided(self, groups: dict[str, set[str]]) -> Iterator[DocumentKey]:
        """Yield the documents whose rows have a parent that a run would not keep, or may have another one now."""
        for mapping in self._with_trees():
            ids = set(self._invalid_parents(mapping, mapping.tree))
            for some in batched(sorted(groups[mapping.name]), BATCH):
                ids |= Closure(self._rows).undecided_rows(mapping, some)
            query = self._rows.namespace.sql(
                "SELECT source_id FROM {ledger} WHERE collection = %s AND target_id = ANY(%s) AND outcome = 'loaded'"
            )
            found = self._rows.connection.execute(query, (mapping.name, sorted(ids)), binary=True)
            yield from ((mapping.name, bytes(source_id)) for (source_id,) in found.fetchall())

    def _invalid_parents(self, collection: Collection, tree: Tree | None) -> Iterable[str]:
        assert tree is not None  # checked by the caller
        query = self._rows.namespace.sql(
            "SELECT m.{key}::text FROM {table} m JOIN {table} p ON p.{key} = m.{parent} WHERE m.tenant_id = %s"
            " AND (p.{within} IS DISTINCT FROM m.{within} OR (p.{order}, p.{key}) >= (m.{order}, m.{key}))",
            table=self._rows.table(collection),
            key=sql.Identifier(collection.key.column),
            parent=sql.Identifier(tree.parent),
            within=sql.Identifier(tree.within),
            order=sql.Identifier(tree.order),
        )
        return [row_id for (row_id,) in self._rows.connection.execute(query, (self.applier.stage.tenant,))]

    def _read_wanting(self) -> Iterator[DocumentKey]:
        """Yield the documents that look up values of changed rows without a foreign key."""
        mappings = self._rows.mappings
        looked_up = {other for mapping in mappings.values() for other, _ in loose_lookups(mapping)}
        query = self._rows.namespace.sql(
            "SELECT l.target_id FROM {dirty} d JOIN {ledger} l USING (collection, source_id)"
            " WHERE l.outcome = 'loaded' AND l.collection = %s"
        )
        for name in sorted(looked_up & mappings.keys()):
            ids = [row_id for (row_id,) in self._rows.connection.execute(query, (name,))]
            for some in batched(ids, BATCH):
                offers = offers_of(self._rows, mappings[name], some)
                yield from sorted(wants.find(self._rows.connection, self._rows.namespace, offers))

    def _newest(self, keys: Iterable[DocumentKey]) -> Newest:
        """Return the documents as the target has them. What has changed in the source since is waiting."""
        found: Newest = {}
        rejected = self._rows.namespace.sql(
            "SELECT document FROM {rejects} WHERE collection = %(name)s AND source_id = %(id)s"
            " UNION ALL SELECT document FROM {archive} WHERE collection = %(name)s AND source_id = %(id)s"
        )
        query = self._rows.namespace.sql(
            "SELECT target_id FROM {ledger} WHERE collection = %s AND source_id = %s AND outcome = 'loaded'"
        )
        for name, source_id in keys:
            row = self._rows.connection.execute(rejected, {"name": name, "id": source_id}, binary=True).fetchone()
            if row is not None:
                found[name, source_id] = bytes(row[0])
                continue
            for (row_id,) in self._rows.connection.execute(query, (name, source_id)).fetchall():
                found |= {(name, sid): raw for sid, raw in read_bson(self._rows, self._rows.mappings[name], [row_id])}
        return found

    # --- latest values -----------------------------------------------------------------------------------------------

    def _set_latest(self) -> None:
        """Set the latest values again, except those that the application has set."""
        rows, tenant = self._rows, self.applier.stage.tenant
        for collection in rows.mappings.values():
            for latest in collection.latest_values:
                value = LatestValue(rows=rows, collection=collection, latest=latest, tenant=tenant)
                holder = mapping_of(rows, latest.table)
                for some in batched(value.stale_ids(), BATCH):
                    with rows.connection.transaction():
                        record_transaction(rows.connection, rows.namespace)
                        value.update_some(some)
                        apply_unreturned(rows, ((holder.name, each) for each in self._source_ids(holder, some)), tenant)

    def _source_ids(self, collection: Collection, row_ids: list[str]) -> list[bytes]:
        query = self._rows.namespace.sql(
            "SELECT source_id FROM {ledger} WHERE collection = %s AND target_id = ANY(%s) AND outcome = 'loaded'"
        )
        found = self._rows.connection.execute(query, (collection.name, row_ids), binary=True)
        return [bytes(source_id) for (source_id,) in found]
