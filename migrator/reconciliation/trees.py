"""Trees of rows that name a parent in their own table: followers of rekeyed rows, inferred and dangling parents, rings.

Every step finds what is still wrong with one query and mends it in batches, so it can be repeated after a kill.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from migrator.mapping.collection import Collection, Tree
from migrator.mapping.context import Row
from migrator.rows.rebuild import read_documents
from migrator.rows.update import AT_ONCE, add_findings, ensure_ledger_index, update_rows
from migrator.state import journal
from migrator.state.journal import Namespace
from migrator.translation.encoder import spell_id
from migrator.translation.outcomes import Finding

Connection = psycopg.Connection[Any]
Edge = tuple[bytes, bytes | None, Any]  # (id, parent, order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """The tree of one collection, in one tenant."""

    connection: Connection
    namespace: Namespace
    mappings: Mapping[str, Collection]
    collection: Collection
    tenant: UUID
    run: int

    def resolve(self) -> None:
        """All steps, in the order in which they depend on each other."""
        assert self.collection.tree is not None  # asked only of collections that have one
        tree, steps = self.collection.tree, [self.cut_bad_edges]
        if self._has_any(tree, "SELECT EXISTS (SELECT FROM {links} WHERE collection = %(link)s)"):
            steps[:0] = [self.infer_parents, self.report_disagreements]
        if self._has_any(tree, "SELECT EXISTS (SELECT FROM {aliases} WHERE collection = %(collection)s)"):
            steps[:0] = [self.retarget_children]
        for step in steps:
            step(tree)

    def _has_any(self, tree: Tree, template: LiteralString) -> bool:
        """Whether any row lists others, or has another id; without an index that joins could begin with, no join says
        so at once."""
        return self.connection.execute(self.namespace.sql(template), self._values(tree)).fetchone() == (True,)

    def reattach(self) -> None:
        """Rows that were cut from their parent name it again: it may be there by now. `settle` cuts what dangles."""
        tree = self.collection.tree
        assert tree is not None  # asked only of collections that have one
        found = self._query(
            tree,
            "SELECT m.id, f.source_id FROM {findings} f JOIN {ledger} g USING (collection, source_id)"
            " JOIN {table} m ON m.id = g.target_id::uuid WHERE f.collection = %(collection)s"
            " AND f.code = 'dangling_parent' AND m.tenant_id = %(tenant)s ORDER BY m.id",
        )
        for batch in batches(found, AT_ONCE):
            with self.connection.transaction():
                self._name_again(tree, [row[0].bytes for row in batch])
                query = self.namespace.sql(
                    "DELETE FROM {findings} WHERE collection = %s AND code = 'dangling_parent' AND source_id = ANY(%s)"
                )
                self.connection.execute(query, (self.collection.name, [bytes(row[1]) for row in batch]))

    def _name_again(self, tree: Tree, row_ids: list[bytes]) -> None:
        key, named = self.collection.key, {}
        spelled = [spell_id(row_id) for row_id in row_ids]
        for _, row, document in read_documents(
            self.connection, self.namespace, self.mappings, self.collection, spelled
        ):
            named[row[key.column]] = {tree.parent: key.uuid(document[tree.field])}
        update_rows(self.connection, self.namespace, self.mappings, self.collection, named, None)

    def retarget_children(self, tree: Tree) -> None:
        """Children of a row that got another id, within what they share and of the same owner, follow it."""
        found = self._query(
            tree,
            "SELECT m.id, a.target::uuid, k.id IS NOT NULL, a.owner FROM {aliases} a"
            " JOIN {table} n ON n.id = a.target::uuid"
            " JOIN {table} m ON m.{parent} = a.claimed::uuid AND m.{within} = n.{within} AND m.id <> n.id"
            " LEFT JOIN {table} k ON k.id = a.claimed::uuid AND k.{within} = m.{within}"
            " WHERE a.collection = %(collection)s AND m.tenant_id = %(tenant)s ORDER BY m.id",
        )
        changes = {m.bytes: {tree.parent: t.bytes} for m, t, shared, o in found if not shared or self._owned(m, o)}
        self._change(changes.items(), None)

    def _owned(self, row_id: UUID, owner: str) -> bool:
        # Both namesakes are in one conversation: a child belongs to the one that has its own user.
        rows = read_documents(self.connection, self.namespace, self.mappings, self.collection, [str(row_id)])
        of = self.collection.owner
        assert of is not None  # only collections with owners have aliases with an owner
        return any(" ".join(map(spell_id, of(document, row))) == owner for _, row, document in rows)

    def infer_parents(self, tree: Tree) -> None:
        """A row whose document names no parent at all, and that exactly one other row lists, gets that one."""
        found = self._query(
            tree,
            "SELECT m.id, min(p.id::text)::uuid FROM {links} l JOIN {table} p ON p.id = l.lister::uuid"
            " JOIN {table} m ON m.id = l.listed::uuid AND m.{within} = p.{within} AND m.id <> p.id"
            " WHERE l.collection = %(link)s AND m.{parent} IS NULL AND m.tenant_id = %(tenant)s"
            # Inferred before, and cut because it closed a ring.
            " AND m.id::text NOT IN (SELECT g.target_id FROM {findings} f JOIN {ledger} g USING (collection, source_id)"
            " WHERE f.collection = %(collection)s AND f.code = 'parent_inferred' AND g.target_id IS NOT NULL)"
            " GROUP BY m.id HAVING count(DISTINCT p.id) = 1 ORDER BY m.id",
        )
        parents = {row[0].bytes: row[1].bytes for row in found}
        silent = self._without(list(parents), tree.field)
        self._change(((row_id, {tree.parent: parents[row_id]}) for row_id in silent), "parent_inferred")

    def _without(self, row_ids: list[bytes], name: str) -> list[bytes]:
        if row_ids:
            ensure_ledger_index(self.connection, self.namespace)
        spelled = [spell_id(row_id) for row_id in row_ids]
        rows = read_documents(self.connection, self.namespace, self.mappings, self.collection, spelled)
        return [row[self.collection.key.column] for _, row, document in rows if name not in document]

    def report_disagreements(self, tree: Tree) -> None:
        """A row that is listed by one row and has another parent: `parentMessageId` won, and that is said."""
        step = f"reconcile {self.collection.name}: disagreements"
        if step in journal.finished_steps(self.connection, self.namespace):
            return
        found = self._query(
            tree,
            "SELECT DISTINCT g.source_id FROM {links} l JOIN {table} p ON p.id = l.lister::uuid"
            " JOIN {table} m ON m.id = l.listed::uuid AND m.{parent} IS DISTINCT FROM p.id"
            " JOIN {ledger} g ON g.collection = %(collection)s AND g.target_id = l.listed"
            " WHERE l.collection = %(link)s AND m.tenant_id = %(tenant)s"
            # Asked before rings are cut; a row that was cut by then does not show any more whom it named.
            " AND g.source_id NOT IN (SELECT f.source_id FROM {findings} f"
            " WHERE f.collection = %(collection)s AND f.code = 'cycle_cut') ORDER BY 1",
        )
        name, code = self.collection.name, "children_disagree"
        findings = [Finding(collection=name, code=code, source_id=bytes(row[0]), detail=tree.field) for row in found]
        with self.connection.transaction():
            add_findings(self.connection, self.namespace, findings)
            journal.finish_step(self.connection, self.namespace, self.run, step)

    def forget_disagreements(self) -> None:
        """So that `report_disagreements` says anew what is so now."""
        step = f"reconcile {self.collection.name}: disagreements"
        with self.connection.transaction():
            query = self.namespace.sql(
                "DELETE FROM {findings} WHERE collection = %(name)s AND code = 'children_disagree' AND source_id NOT IN"
                " (SELECT source_id FROM {findings} WHERE collection = %(name)s AND code = 'cycle_cut')"
            )
            self.connection.execute(query, {"name": self.collection.name})
            self.connection.execute(self.namespace.sql("DELETE FROM {steps} WHERE step = %s"), (step,))

    def cut_bad_edges(self, tree: Tree) -> None:
        """A parent that is gone, elsewhere, or the row itself: the row becomes a root. Then the rings are cut.

        Only a ring has an edge on which the parent is not older. One join finds both kinds of edges; as a statement of
        its own, not under a cursor, so that the server may use all cores.
        """
        query = self._compose(
            tree,
            "CREATE TEMPORARY TABLE bad_edges AS"
            # DISTINCT: in a rehearsal, a row that stands in for one of others has nothing but its id.
            " SELECT m.id, m.{within} AS within, p.{within} IS DISTINCT FROM m.{within} OR p.id = m.id AS dangling"
            " FROM {table} m LEFT JOIN {table} p ON p.id = m.{parent}"
            " WHERE m.tenant_id = %(tenant)s AND m.{parent} IS NOT NULL"
            " AND (p.{within} IS DISTINCT FROM m.{within} OR (p.{order}, p.id) >= (m.{order}, m.id))",
        )
        self.connection.execute("DROP TABLE IF EXISTS pg_temp.bad_edges")
        self.connection.execute(query, self._values(tree))
        dangling = self._query(tree, "SELECT id FROM pg_temp.bad_edges WHERE dangling")
        self._change(((row[0].bytes, {tree.parent: None}) for row in dangling), "dangling_parent")
        self._cut_rings(tree)
        self.connection.execute("DROP TABLE pg_temp.bad_edges")

    def _cut_rings(self, tree: Tree) -> None:
        """Each ring is cut above its oldest row."""
        found = self._query(
            tree,
            # Ranks, not the values: PostgreSQL has dates that Python has not.
            "SELECT m.{within}, m.id, m.{parent}, rank() OVER (PARTITION BY m.{within} ORDER BY m.{order})"
            " FROM {table} m JOIN (SELECT DISTINCT within FROM pg_temp.bad_edges WHERE NOT dangling) s"
            " ON s.within = m.{within} ORDER BY 1, 2",
        )
        groups = groupby(found, key=lambda row: row[0])
        edges = ([(r[1].bytes, r[2] and r[2].bytes, r[3]) for r in rows] for _, rows in groups)
        oldest = (row_id for group in edges for row_id in heads_of_rings(group))
        self._change(((row_id, {tree.parent: None}) for row_id in oldest), "cycle_cut")

    def _query(self, tree: Tree, template: LiteralString) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, streamed: the server keeps what has not been read."""
        # WITH HOLD: the changes made meanwhile commit, and the cursor lives on.
        with self.connection.cursor("tree", withhold=True) as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(self._compose(tree, template), self._values(tree))
            yield from cursor

    def _compose(self, tree: Tree, template: LiteralString) -> sql.Composed:
        names = {name: sql.Identifier(getattr(tree, name)) for name in ("parent", "within", "order")}
        return self.namespace.sql(template, table=self.namespace.table(self.collection.table.name), **names)

    def _values(self, tree: Tree) -> dict[str, Any]:
        link = f"{self.collection.name}.{tree.link}"
        return {"collection": self.collection.name, "tenant": self.tenant, "link": link}

    def _change(self, changes: Iterable[tuple[bytes, Row]], code: str | None) -> None:
        for batch in batches(changes, AT_ONCE):
            ensure_ledger_index(self.connection, self.namespace)
            with self.connection.transaction():
                update_rows(self.connection, self.namespace, self.mappings, self.collection, dict(batch), code)


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def heads_of_rings(edges: list[Edge]) -> list[bytes]:
    """The oldest row (by order, then id) of every ring among rows that each name at most one parent."""
    parents = {row_id: parent for row_id, parent, _ in edges}
    order = {row_id: (moment, row_id) for row_id, _, moment in edges}
    seen: dict[bytes, int] = {}
    heads = []
    for number, start in enumerate(parents):
        row_id: bytes | None = start
        while row_id in parents and row_id not in seen:
            seen[row_id] = number
            row_id = parents[row_id]
        if row_id is not None and seen.get(row_id) == number:
            heads.append(min(_ring(parents, row_id), key=lambda each: order[each]))
    return heads


def _ring(parents: Mapping[bytes, bytes | None], start: bytes) -> Iterator[bytes]:
    row_id: bytes | None = start
    while row_id is not None:
        yield row_id
        row_id = parents[row_id]
        if row_id == start:
            return
