"""Trees: rows that refer to a parent row in their own table.

Corrects parents and children whose ID several documents have, missing parents, invalid parents and parent cycles.
Every step finds the remaining errors with one query and corrects them in batches, so it can be repeated after an
interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from migrator.mapping.collection import Collection, Tree
from migrator.mapping.context import Row
from migrator.mapping.references import UncheckedReference
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy import copy
from migrator.postgres.native import write_row
from migrator.postgres.session import owner_search_path
from migrator.reconciliation.cycles import find_cycle_heads
from migrator.reconciliation.shared_ids import Mention, SharedIds
from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.rows.plain_values import sql_parameter
from migrator.rows.rebuild import read_documents
from migrator.rows.refusals import REFUSALS, UpdatesRefusedError, find_documents, is_refusal, trial, write_accepted
from migrator.rows.store import RowStore
from migrator.rows.update import BATCH_SIZE, add_findings, batched, update_rows
from migrator.state import journal
from migrator.state.own_transactions import own_transaction
from migrator.state.tenant import own_rows
from migrator.translation.encoder import format_target_id
from migrator.translation.outcomes import Finding

_CHOSEN: dict[str, LiteralString] = {  # the conditions for `Trees.groups`
    "chosen": " AND m.{within} = ANY(%(groups)s::{kind}[])",
    "chosen_listers": " AND p.{within} = ANY(%(groups)s::{kind}[])",
    "chosen_listed": " AND l.listed IN"
    " (SELECT c.{key}::text FROM {table} c WHERE c.{within} = ANY(%(groups)s::{kind}[]))",
}
DANGLING_PARENT = "dangling_parent"
CUT_CODES = (DANGLING_PARENT, "cycle_cut")  # the findings about a parent that the document names, but the row has not
PARENT_CODES = (DANGLING_PARENT, "parent_inferred", "cycle_cut")  # the findings about a parent that was changed here


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """The tree of one collection in one tenant.

    `groups`: only the rows with these values of `Tree.within`, as text. There is no finding about a parent in these
    groups: documents with one have just been loaded again.
    `refused`: where to collect the rows, by plain ID, that the target does not let be changed, instead of an error.
    """

    rows: RowStore
    collection: Collection
    tenant: UUID
    run: int
    refused: dict[bytes, psycopg.Error] | None = None
    groups: tuple[str, ...] | None = None

    @property
    def tree(self) -> Tree:
        """Return the definition of the tree."""
        assert self.collection.tree is not None  # the class is used only for collections that have one
        return self.collection.tree

    def resolve(self) -> None:
        """Correct the whole tree.

        Raises: `UpdatesRefusedError` if the target refuses a parent.
        """
        try:
            self._correct()
        except REFUSALS as error:
            refused = self._find_refused() if is_refusal(self.rows.connection, self.collection, error) else {}
            if not refused:
                raise
            raise UpdatesRefusedError(error, {self.collection.name: refused}) from error

    def _find_refused(self) -> dict[bytes, str]:
        """Return the documents whose rows cannot have their parents, and the details of their rejects.

        Without these rows, other rows become roots, which the target may refuse, too. All changes are rolled back.
        """
        connection, namespace = self.rows.connection, self.rows.namespace
        causes: dict[bytes, psycopg.Error] = {}
        with trial(connection, namespace):
            count = -1
            while len(causes) > count:
                count = len(causes)
                replace(self, refused=causes)._correct()
        return find_documents(
            connection, namespace, self.collection.name, {format_target_id(key): each for key, each in causes.items()}
        )

    def _correct(self) -> None:
        """Take all steps. Each one depends on the steps before it."""
        steps = [self.cut_invalid_parents]
        if self._has_any("SELECT EXISTS (SELECT FROM {links} WHERE collection = %(link)s)"):
            steps[:0] = [self.resolve_children, self.infer_parents, self.report_disagreements]
        if self._has_any("SELECT EXISTS (SELECT FROM {aliases} WHERE collection = %(collection)s)"):
            steps[:0] = [self.resolve_parents]
        for step in steps:
            step()
        self.rows.connection.execute("DROP TABLE IF EXISTS pg_temp.listed_rows")

    def _has_any(self, template: LiteralString) -> bool:
        """Return whether a table of records has any rows for this collection.

        There is no index that a join could start with, so this check avoids a full join over nothing.
        """
        return self.rows.connection.execute(self.rows.namespace.sql(template), self._values()).fetchone() == (True,)

    def restore_parents(self) -> None:
        """Set the parents again that the documents name, in all rows for which `resolve` may decide otherwise now.

        These are the rows with a finding of this module, and those whose parent has another ID than in the documents.
        """
        found = self._query(
            "SELECT m.{key}, g.source_id FROM {ledger} g JOIN {table} m ON m.{key}::text = g.target_id"
            " WHERE g.collection = %(collection)s AND {own} AND (g.source_id IN"
            " (SELECT source_id FROM {findings} WHERE collection = %(collection)s AND code = ANY(%(codes)s))"
            " OR m.{parent}::text IN (SELECT target FROM {aliases} WHERE collection = %(collection)s))"
            " ORDER BY m.{key}",
        )
        query = self.rows.namespace.sql(
            "DELETE FROM {findings} WHERE collection = %s AND code = ANY(%s) AND source_id = ANY(%s)"
        )
        for batch in batched(found, BATCH_SIZE):
            with own_transaction(self.rows.connection, self.rows.namespace):
                self._set_named_parents([row[0].bytes for row in batch])
                values = (self.collection.name, list(PARENT_CODES), [bytes(row[1]) for row in batch])
                self.rows.connection.execute(query, values)

    def _set_named_parents(self, row_ids: list[bytes]) -> None:
        named = {row_id: {self.tree.parent: parent} for row_id, parent in self._named_parents(row_ids)}
        update_rows(self.rows, self.collection, named, None)

    def _named_parents(self, row_ids: list[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the parents that the documents of rows name: (plain ID of the row, plain ID of the parent)."""
        ids = [format_target_id(row_id) for row_id in row_ids]
        for _, row, document in read_documents(self.rows, self.collection, ids) if ids else ():
            yield row[self.collection.key.column], self._reference.referenced_id(document)

    @property
    def _reference(self) -> UncheckedReference:
        rules = (rule for rule in self.collection.rules if isinstance(rule, UncheckedReference))
        return next(rule for rule in rules if rule.column == self.tree.parent)

    @property
    def _shared_ids(self) -> SharedIds:
        return SharedIds(rows=self.rows, collection=self.collection, within=self.tree.within)

    def resolve_parents(self) -> None:
        """Set the parent of rows that name an ID which several documents have."""
        found = self._query(
            "SELECT m.{key}, m.{parent}, m.{within}, EXISTS (SELECT FROM {aliases} t"
            " WHERE t.collection = %(collection)s AND t.target = m.{parent}::text) FROM {table} m"
            " WHERE {own}{chosen} AND m.{parent} IN"
            " (SELECT a.original_id::uuid FROM {aliases} a WHERE a.collection = %(collection)s) ORDER BY m.{key}",
        )
        for batch in batched(found, BATCH_SIZE):
            mentions = {row[0].bytes: Mention(row[0].bytes, row[1].bytes, row[2]) for row in batch}
            # An ID in the documents may equal a derived ID: then the parent may have been resolved before.
            uncertain = [row[0].bytes for row in batch if row[3]]
            for row_id, parent in self._named_parents(uncertain):
                if parent != mentions[row_id].named_id:
                    del mentions[row_id]
            resolved = self._shared_ids.resolve(mentions.values())
            changes = [
                (each.row_id, {self.tree.parent: parent})
                for each, parent in resolved.items()
                if parent != each.named_id
            ]
            self._change(changes, None)

    def resolve_children(self) -> None:
        """Collect the rows that are meant by listed IDs which several documents have: (lister, listed row)."""
        connection = self.rows.connection
        connection.execute("DROP TABLE IF EXISTS pg_temp.listed_rows")
        connection.execute("CREATE TEMPORARY TABLE listed_rows (lister uuid NOT NULL, listed uuid NOT NULL)")
        found = self._query(
            "SELECT p.{key}, l.listed::uuid, p.{within} FROM {links} l JOIN {table} p ON p.{key} = l.lister::uuid"
            " WHERE l.collection = %(link)s{chosen_listers} AND l.listed IN"
            " (SELECT a.original_id FROM {aliases} a WHERE a.collection = %(collection)s)",
        )
        for batch in batched(found, BATCH_SIZE):
            mentions = {Mention(row[0].bytes, row[1].bytes, row[2]) for row in batch}
            rows = [
                write_row((each.row_id, listed), ("uuid", "uuid"))
                for each, listed in self._shared_ids.resolve(mentions).items()
            ]
            copy(connection, sql.Identifier("pg_temp", "listed_rows"), rows)

    @property
    def _listed(self) -> sql.Composed:
        """The query `SELECT lister, listed` for all listed rows."""
        return self._compose(
            "SELECT l.lister::uuid AS lister, l.listed::uuid AS listed FROM {links} l WHERE l.collection = %(link)s"
            "{chosen_listed}"
            " AND NOT EXISTS (SELECT FROM {aliases} a WHERE a.collection = %(collection)s AND a.original_id = l.listed)"
            " UNION ALL SELECT lister, listed FROM pg_temp.listed_rows"
        )

    def infer_parents(self) -> None:
        """Set the parent of rows whose document has no parent field, if exactly one other row lists them."""
        found = self._query(
            "SELECT m.{key}, min(p.{key}::text)::uuid FROM ({listed}) l JOIN {table} p ON p.{key} = l.lister"
            " JOIN {table} m ON m.{key} = l.listed AND m.{within} = p.{within} AND m.{key} <> p.{key}"
            " WHERE m.{parent} IS NULL AND {own}{chosen}{not_inferred_before}"
            " GROUP BY m.{key} HAVING count(DISTINCT p.{key}) = 1 ORDER BY m.{key}",
            listed=self._listed,
            not_inferred_before=self._not_inferred_before,
        )
        parents = {row[0].bytes: row[1].bytes for row in found}
        without_field = self._without(list(parents), self.tree.field)
        self._change(((row_id, {self.tree.parent: parents[row_id]}) for row_id in without_field), "parent_inferred")

    @property
    def _not_inferred_before(self) -> sql.Composable:
        """The condition that excludes a parent that was inferred before and then removed because it closed a cycle."""
        if self.groups is not None:
            return sql.SQL("")
        return self._compose(
            " AND m.{key}::text NOT IN"
            " (SELECT g.target_id FROM {findings} f JOIN {ledger} g USING (collection, source_id)"
            " WHERE f.collection = %(collection)s AND f.code = 'parent_inferred' AND g.target_id IS NOT NULL)"
        )

    def _without(self, row_ids: list[bytes], name: str) -> list[bytes]:
        if row_ids:
            ensure_ledger_indexes(self.rows.connection, self.rows.namespace)
        ids = [format_target_id(row_id) for row_id in row_ids]
        rows = read_documents(self.rows, self.collection, ids)
        return [row[self.collection.key.column] for _, row, document in rows if name not in document]

    def report_disagreements(self) -> None:
        """Report the rows that are listed by a row of their group but have another parent, which takes precedence."""
        step = f"reconcile {self.collection.name}: disagreements"
        if self.groups is None and step in journal.finished_steps(self.rows.connection, self.rows.namespace):
            return
        found = self._query(
            "SELECT DISTINCT g.source_id, g.target_id FROM ({listed}) l JOIN {table} p ON p.{key} = l.lister"
            " JOIN {table} m ON m.{key} = l.listed AND m.{within} = p.{within} AND m.{parent} IS DISTINCT FROM p.{key}"
            " JOIN {ledger} g ON g.collection = %(collection)s AND g.target_id = m.{key}::text"
            " WHERE {own}{chosen} ORDER BY 1, 2",
            listed=self._listed,
        )
        name, code = self.collection.name, self.tree.disagreement
        findings = [
            Finding(collection=name, code=code, source_id=bytes(row[0]), detail=self.tree.field) for row in found
        ]
        with own_transaction(self.rows.connection, self.rows.namespace):
            add_findings(self.rows.connection, self.rows.namespace, findings)
            if self.groups is None:
                journal.finish_step(self.rows.connection, self.rows.namespace, self.run, step)

    def forget_disagreements(self) -> None:
        """Delete the findings of `report_disagreements`, so that it runs again."""
        step = f"reconcile {self.collection.name}: disagreements"
        with self.rows.connection.transaction():
            query = self.rows.namespace.sql("DELETE FROM {findings} WHERE collection = %s AND code = %s")
            self.rows.connection.execute(query, (self.collection.name, self.tree.disagreement))
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
            " SELECT m.{key} AS id, m.{within} AS within,"
            " p.{within} IS DISTINCT FROM m.{within} OR p.{key} = m.{key} AS dangling"
            " FROM {table} m LEFT JOIN {table} p ON p.{key} = m.{parent}"
            " WHERE {own}{chosen} AND m.{parent} IS NOT NULL"
            " AND (p.{within} IS DISTINCT FROM m.{within} OR (p.{order}, p.{key}) >= (m.{order}, m.{key}))",
        )
        self.rows.connection.execute("DROP TABLE IF EXISTS pg_temp.invalid_parents")
        self.rows.connection.execute(query, self._values())
        dangling = self._query("SELECT id FROM pg_temp.invalid_parents WHERE dangling")
        self._change(((row[0].bytes, {self.tree.parent: None}) for row in dangling), DANGLING_PARENT)
        self._break_cycles()
        self.rows.connection.execute("DROP TABLE pg_temp.invalid_parents")

    def _break_cycles(self) -> None:
        """Make the oldest row of every cycle a root."""
        found = self._query(
            # Ranks instead of values: PostgreSQL has dates that Python cannot represent.
            "SELECT m.{within}, m.{key}, m.{parent}, rank() OVER (PARTITION BY m.{within} ORDER BY m.{order})"
            " FROM {table} m JOIN (SELECT DISTINCT within FROM pg_temp.invalid_parents WHERE NOT dangling) s"
            " ON s.within = m.{within} ORDER BY 1, 2",
        )
        groups = groupby(found, key=lambda row: row[0])
        edges = ([(r[1].bytes, r[2] and r[2].bytes, r[3]) for r in rows] for _, rows in groups)
        oldest = (row_id for group in edges for row_id in find_cycle_heads(group))
        self._change(((row_id, {self.tree.parent: None}) for row_id in oldest), "cycle_cut")

    def _query(self, template: LiteralString, **names: sql.Composable) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query through a server-side cursor."""
        # WITH HOLD: the cursor must survive the commits of the changes that are made meanwhile.
        with self.rows.connection.cursor("tree", withhold=True) as cursor:
            cursor.itersize = BATCH_SIZE
            cursor.execute(self._compose(template, **names), self._values())
            yield from cursor

    def _compose(self, template: LiteralString, **names: sql.Composable) -> sql.Composed:
        columns: dict[str, sql.Composable] = {
            name: sql.Identifier(getattr(self.tree, name)) for name in ("parent", "within", "order")
        }
        columns["key"] = sql.Identifier(self.collection.key.column)
        columns["own"] = own_rows(self.collection.table, self.tenant, "m")
        table = self.rows.table(self.collection)
        kind = sql.SQL(kind_of_column(self.collection.table.c[self.tree.within]))
        chosen: dict[str, sql.Composable] = {
            name: sql.SQL("" if self.groups is None else condition).format(
                table=table, within=columns["within"], key=columns["key"], kind=kind
            )
            for name, condition in _CHOSEN.items()
        }
        return self.rows.namespace.sql(template, table=table, **columns, **chosen, **names)

    def _values(self) -> dict[str, Any]:
        return {
            "collection": self.collection.name,
            "link": f"{self.collection.name}.{self.tree.link}",
            "codes": list(PARENT_CODES),
            "groups": list(self.groups or ()),
        }

    def _change(self, changes: Iterable[tuple[bytes, Row]], code: str | None) -> None:
        for batch in batched(changes, BATCH_SIZE):
            if self.refused is not None:
                self._change_accepted(batch, self.refused)
                continue
            ensure_ledger_indexes(self.rows.connection, self.rows.namespace)
            with own_transaction(self.rows.connection, self.rows.namespace):
                update_rows(self.rows, self.collection, dict(batch), code)

    def _change_accepted(self, batch: list[tuple[bytes, Row]], refused: dict[bytes, psycopg.Error]) -> None:
        """Change the rows that the target lets be changed; delete the others and add them to `refused`."""

        def write(start: int, stop: int) -> None:
            update_rows(self.rows, self.collection, dict(batch[start:stop]), None)

        found = {batch[at][0]: cause for at, cause in write_accepted(self.rows.connection, len(batch), write)}
        query = sql.SQL("DELETE FROM {} WHERE {} OPERATOR(pg_catalog.=) ANY(%s)").format(
            self.rows.table(self.collection), sql.Identifier(self.collection.key.column)
        )
        with owner_search_path(self.rows.connection):
            self.rows.connection.execute(query, (list(map(sql_parameter, found)),))
        refused.update(found)
