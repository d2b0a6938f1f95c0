"""Trees: rows that refer to a parent row in their own table.

Corrects the children of rekeyed rows, missing parents, invalid parents and parent cycles. Every step finds the
remaining errors with one query and corrects them in batches, so it can be repeated after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql

from migrator.mapping.collection import Collection, Tree
from migrator.mapping.context import Row
from migrator.reconciliation.cycles import find_cycle_heads
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.rows.rebuild import read_documents
from migrator.rows.store import RowStore
from migrator.rows.update import BATCH_SIZE, add_findings, batched, update_rows
from migrator.state import journal
from migrator.translation.encoder import format_target_id
from migrator.translation.outcomes import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """The tree of one collection in one tenant."""

    rows: RowStore
    collection: Collection
    tenant: UUID
    run: int

    @property
    def tree(self) -> Tree:
        """Return the definition of the tree."""
        assert self.collection.tree is not None  # the class is used only for collections that have one
        return self.collection.tree

    def resolve(self) -> None:
        """Correct the whole tree. Each step depends on the steps before it."""
        steps = [self.cut_invalid_parents]
        if self._has_any("SELECT EXISTS (SELECT FROM {links} WHERE collection = %(link)s)"):
            steps[:0] = [self.infer_parents, self.report_disagreements]
        if self._has_any("SELECT EXISTS (SELECT FROM {aliases} WHERE collection = %(collection)s)"):
            steps[:0] = [self.retarget_children]
        for step in steps:
            step()

    def _has_any(self, template: LiteralString) -> bool:
        """Return whether a table of records has any rows for this collection.

        There is no index that a join could start with, so this check avoids a full join over nothing.
        """
        return self.rows.connection.execute(self.rows.namespace.sql(template), self._values()).fetchone() == (True,)

    def reattach(self) -> None:
        """Set the parent of rows again that had an invalid parent: it may exist now. `resolve` removes it if not."""
        found = self._query(
            "SELECT m.id, f.source_id FROM {findings} f JOIN {ledger} g USING (collection, source_id)"
            " JOIN {table} m ON m.id = g.target_id::uuid WHERE f.collection = %(collection)s"
            " AND f.code = 'dangling_parent' AND m.tenant_id = %(tenant)s ORDER BY m.id",
        )
        for batch in batched(found, BATCH_SIZE):
            with self.rows.connection.transaction():
                self._set_parents_again([row[0].bytes for row in batch])
                query = self.rows.namespace.sql(
                    "DELETE FROM {findings} WHERE collection = %s AND code = 'dangling_parent' AND source_id = ANY(%s)"
                )
                self.rows.connection.execute(query, (self.collection.name, [bytes(row[1]) for row in batch]))

    def _set_parents_again(self, row_ids: list[bytes]) -> None:
        key, named = self.collection.key, {}
        ids = [format_target_id(row_id) for row_id in row_ids]
        for _, row, document in read_documents(self.rows, self.collection, ids):
            named[row[key.column]] = {self.tree.parent: key.uuid(document[self.tree.field])}
        update_rows(self.rows, self.collection, named, None)

    def retarget_children(self) -> None:
        """Set the new ID in the children of rekeyed rows: in the same group and, if needed, of the same owner."""
        found = self._query(
            "SELECT m.id, a.target::uuid, k.id IS NOT NULL, a.owner FROM {aliases} a"
            " JOIN {table} n ON n.id = a.target::uuid"
            " JOIN {table} m ON m.{parent} = a.original_id::uuid AND m.{within} = n.{within} AND m.id <> n.id"
            " LEFT JOIN {table} k ON k.id = a.original_id::uuid AND k.{within} = m.{within}"
            " WHERE a.collection = %(collection)s AND m.tenant_id = %(tenant)s ORDER BY m.id",
        )
        changes = {m.bytes: {self.tree.parent: t.bytes} for m, t, shared, o in found if not shared or self._owned(m, o)}
        self._change(changes.items(), None)

    def _owned(self, row_id: UUID, owner: str) -> bool:
        # Both rows with this ID are in one group: a child belongs to the row of its own owner.
        rows = read_documents(self.rows, self.collection, [str(row_id)])
        of = self.collection.owner
        assert of is not None  # only such collections have aliases with an owner
        return any(" ".join(map(format_target_id, of(document, row))) == owner for _, row, document in rows)

    def infer_parents(self) -> None:
        """Set the parent of rows whose document has no parent field, if exactly one other row lists them."""
        found = self._query(
            "SELECT m.id, min(p.id::text)::uuid FROM {links} l JOIN {table} p ON p.id = l.lister::uuid"
            " JOIN {table} m ON m.id = l.listed::uuid AND m.{within} = p.{within} AND m.id <> p.id"
            " WHERE l.collection = %(link)s AND m.{parent} IS NULL AND m.tenant_id = %(tenant)s"
            # Not a parent that was inferred before and then removed because it closed a cycle.
            " AND m.id::text NOT IN (SELECT g.target_id FROM {findings} f JOIN {ledger} g USING (collection, source_id)"
            " WHERE f.collection = %(collection)s AND f.code = 'parent_inferred' AND g.target_id IS NOT NULL)"
            " GROUP BY m.id HAVING count(DISTINCT p.id) = 1 ORDER BY m.id",
        )
        parents = {row[0].bytes: row[1].bytes for row in found}
        without_field = self._without(list(parents), self.tree.field)
        self._change(((row_id, {self.tree.parent: parents[row_id]}) for row_id in without_field), "parent_inferred")

    def _without(self, row_ids: list[bytes], name: str) -> list[bytes]:
        if row_ids:
            ensure_ledger_indexes(self.rows.connection, self.rows.namespace)
        ids = [format_target_id(row_id) for row_id in row_ids]
        rows = read_documents(self.rows, self.collection, ids)
        return [row[self.collection.key.column] for _, row, document in rows if name not in document]

    def report_disagreements(self) -> None:
        """Report the rows that are listed by one row but have another parent. The parent field takes precedence."""
        step = f"reconcile {self.collection.name}: disagreements"
        if step in journal.finished_steps(self.rows.connection, self.rows.namespace):
            return
        found = self._query(
            "SELECT DISTINCT g.source_id FROM {links} l JOIN {table} p ON p.id = l.lister::uuid"
            " JOIN {table} m ON m.id = l.listed::uuid AND m.{parent} IS DISTINCT FROM p.id"
            " JOIN {ledger} g ON g.collection = %(collection)s AND g.target_id = l.listed"
            " WHERE l.collection = %(link)s AND m.tenant_id = %(tenant)s"
            # After a cycle was broken at a row, its original parent is unknown.
            " AND g.source_id NOT IN (SELECT f.source_id FROM {findings} f"
            " WHERE f.collection = %(collection)s AND f.code = 'cycle_cut') ORDER BY 1",
        )
        name, code = self.collection.name, self.tree.disagreement
        findings = [
            Finding(collection=name, code=code, source_id=bytes(row[0]), detail=self.tree.field) for row in found
        ]
        with self.rows.connection.transaction():
            add_findings(self.rows.connection, self.rows.namespace, findings)
            journal.finish_step(self.rows.connection, self.rows.namespace, self.run, step)

    def forget_disagreements(self) -> None:
        """Delete the findings of `report_disagreements`, so that it runs again."""
        step = f"reconcile {self.collection.name}: disagreements"
        with self.rows.connection.transaction():
            query = self.rows.namespace.sql(
                "DELETE FROM {findings} WHERE collection = %(name)s AND code = %(code)s AND source_id NOT IN"
                " (SELECT source_id FROM {findings} WHERE collection = %(name)s AND code = 'cycle_cut')"
            )
            self.rows.connection.execute(query, {"name": self.collection.name, "code": self.tree.disagreement})
            self.rows.connection.execute(self.rows.namespace.sql("DELETE FROM {steps} WHERE step = %s"), (step,))

    def cut_invalid_parents(self) -> None:
        """Make rows with an invalid parent roots, then break the cycles.

        A parent is invalid if it is missing, in another group, or the row itself. Every cycle has a row whose parent is
        not older than the row. One join finds both. It is a separate statement, not a cursor, so that the server can
        use parallel workers.
        """
        query = self._compose(
            "CREATE TEMPORARY TABLE invalid_parents AS"
            # IS DISTINCT FROM: in a dry run, a placeholder row has nothing but its ID.
            " SELECT m.id, m.{within} AS within, p.{within} IS DISTINCT FROM m.{within} OR p.id = m.id AS dangling"
            " FROM {table} m LEFT JOIN {table} p ON p.id = m.{parent}"
            " WHERE m.tenant_id = %(tenant)s AND m.{parent} IS NOT NULL"
            " AND (p.{within} IS DISTINCT FROM m.{within} OR (p.{order}, p.id) >= (m.{order}, m.id))",
        )
        self.rows.connection.execute("DROP TABLE IF EXISTS pg_temp.invalid_parents")
        self.rows.connection.execute(query, self._values())
        dangling = self._query("SELECT id FROM pg_temp.invalid_parents WHERE dangling")
        self._change(((row[0].bytes, {self.tree.parent: None}) for row in dangling), "dangling_parent")
        self._break_cycles()
        self.rows.connection.execute("DROP TABLE pg_temp.invalid_parents")

    def _break_cycles(self) -> None:
        """Make the oldest row of every cycle a root."""
        found = self._query(
            # Ranks instead of values: PostgreSQL has dates that Python cannot represent.
            "SELECT m.{within}, m.id, m.{parent}, rank() OVER (PARTITION BY m.{within} ORDER BY m.{order})"
            " FROM {table} m JOIN (SELECT DISTINCT within FROM pg_temp.invalid_parents WHERE NOT dangling) s"
            " ON s.within = m.{within} ORDER BY 1, 2",
        )
        groups = groupby(found, key=lambda row: row[0])
        edges = ([(r[1].bytes, r[2] and r[2].bytes, r[3]) for r in rows] for _, rows in groups)
        oldest = (row_id for group in edges for row_id in find_cycle_heads(group))
        self._change(((row_id, {self.tree.parent: None}) for row_id in oldest), "cycle_cut")

    def _query(self, template: LiteralString) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query through a server-side cursor."""
        # WITH HOLD: the cursor must survive the commits of the changes that are made meanwhile.
        with self.rows.connection.cursor("tree", withhold=True) as cursor:
            cursor.itersize = BATCH_SIZE
            cursor.execute(self._compose(template), self._values())
            yield from cursor

    def _compose(self, template: LiteralString) -> sql.Composed:
        names = {name: sql.Identifier(getattr(self.tree, name)) for name in ("parent", "within", "order")}
        return self.rows.namespace.sql(template, table=self.rows.table(self.collection), **names)

    def _values(self) -> dict[str, Any]:
        link = f"{self.collection.name}.{self.tree.link}"
        return {"collection": self.collection.name, "tenant": self.tenant, "link": link}

    def _change(self, changes: Iterable[tuple[bytes, Row]], code: str | None) -> None:
        for batch in batched(changes, BATCH_SIZE):
            ensure_ledger_indexes(self.rows.connection, self.rows.namespace)
            with self.rows.connection.transaction():
                update_rows(self.rows, self.collection, dict(batch), code)
