"""Which loaded rows hang on others, so that they are resolved again with them (live design, the four closure rules)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cached_property

from psycopg import sql

from migrator.following.batch import group_by_collection
from migrator.following.interests import offers_of
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.foreign_keys import ForeignKey, find_keys
from migrator.postgres.table_names import name_of
from migrator.reconciliation.trees import PARENT_CODES
from migrator.rows.children import owners_query
from migrator.rows.selection import values_of
from migrator.rows.store import RowStore
from migrator.state import wants
from migrator.state.row_keys import key_of, referring_columns

RowIds = dict[str, set[str]]  # collection → target IDs


class Closure:
    """Finds all rows that hang on given rows. Only rows that this migration loaded are found."""

    def __init__(self, rows: RowStore) -> None:
        self._rows = rows

    def expand(self, start: Mapping[str, set[str]]) -> tuple[RowIds, set[tuple[str, bytes]]]:
        """Return the rows `start` and all that hang on them, and the documents without a row that want their values."""
        found: RowIds = defaultdict(set)
        unloaded: set[tuple[str, bytes]] = set()
        todo = self._loaded(start)
        while todo:
            name, row_ids = todo.popitem()
            new = row_ids - found[name]
            if not new:
                continue
            found[name] |= new
            collection = self._rows.mappings[name]
            more: RowIds = defaultdict(set)
            for step in (self._add_children, self._add_renamed, self._add_group, self._add_listed):
                step(collection, sorted(new), more)
            wanting = wants.find(self._rows.connection, self._rows.namespace, offers_of(self._rows, collection, new))
            unloaded |= self.split_loaded(wanting, more)
            for other, others in self._loaded(more).items():
                todo.setdefault(other, set()).update(others)
        return found, unloaded

    def split_loaded(self, documents: set[tuple[str, bytes]], loaded: RowIds) -> set[tuple[str, bytes]]:
        """Add the rows of loaded documents to `loaded`, and return the other documents."""
        others = set(documents)
        query = self._rows.namespace.sql(
            "SELECT source_id, target_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s)"
            " AND outcome = 'loaded'"
        )
        for name, source_ids in group_by_collection(documents).items():
            for source_id, target_id in self._rows.connection.execute(query, (name, source_ids), binary=True):
                loaded[name].add(target_id)
                others.discard((name, bytes(source_id)))
        return others

    def _loaded(self, candidates: Mapping[str, set[str]]) -> RowIds:
        """Return those candidates that this migration loaded from a document of their own."""
        query = self._rows.namespace.sql(
            "SELECT target_id FROM {ledger} WHERE collection = %s AND outcome = 'loaded' AND target_id = ANY(%s)"
        )
        return {
            name: {row[0] for row in self._rows.connection.execute(query, (name, list(ids)))}
            for name, ids in candidates.items()
            if ids and name in self._rows.mappings
        }

    @cached_property
    def _foreign_keys(self) -> list[ForeignKey]:
        metadata = next(iter(self._rows.mappings.values())).table.metadata
        return find_keys(self._rows.connection, metadata, self._rows.namespace.rows)

    def keys_to(self, collection: Collection) -> list[ForeignKey]:
        """Return the foreign keys of other tables to the table of a collection."""
        table, columns = name_of(collection.table), key_of(collection).columns
        own = {(name_of(rule.table), frozenset(rule.parent_columns)) for rule in collection.children}
        return [
            key
            for key in self._foreign_keys
            if key.parent.label == table
            and key.child.label != table
            and (key.child.label, frozenset(key.child_columns)) not in own
            and (len(columns) == 1 or {*key.parent_columns} == {*columns})
        ]

    @cached_property
    def _by_table(self) -> dict[str, list[Collection]]:
        found: dict[str, list[Collection]] = defaultdict(list)
        for mapping in self._rows.mappings.values():
            found[name_of(mapping.table)].append(mapping)
        return found

    @cached_property
    def _elements_in(self) -> dict[str, list[tuple[Collection, Children]]]:
        """The rules by which elements of documents become rows of a table, with their collections, by table."""
        found: dict[str, list[tuple[Collection, Children]]] = defaultdict(list)
        for mapping in self._rows.mappings.values():
            for rule in mapping.child_rules:
                found[name_of(rule.table)].append((mapping, rule))
        return found

    def children_of(self, collection: Collection, ids: list[str]) -> RowIds:
        """Return the rows of other collections that refer to rows by foreign keys."""
        found: RowIds = defaultdict(set)
        self._add_children(collection, ids, found)
        return found

    def count_children(self, collection: Collection, ids: list[str]) -> Counter[str]:
        """Return row ID → number of rows of other collections that refer to the row by foreign keys."""
        found: Counter[str] = Counter()
        for key in self.keys_to(collection):
            columns = referring_columns(collection, key)
            query = sql.SQL("SELECT {}, count(*) FROM {} WHERE {} GROUP BY 1").format(
                columns.text(), key.child.identifier, columns.is_in()
            )
            found.update(dict(self._rows.connection.execute(query, (ids,)).fetchall()))
        return found

    def _add_children(self, collection: Collection, ids: list[str], more: RowIds) -> None:
        """Add the rows that refer to rows by foreign keys."""
        for key in self.keys_to(collection):
            columns = referring_columns(collection, key)
            for owner, rule in self._elements_in.get(key.child.label, ()):
                owners = owners_query(self._rows.namespace, owner, rule, columns)
                more[owner.name] |= {row[0] for row in self._rows.connection.execute(owners, (ids,))}
            for child in self._by_table.get(key.child.label, ()):  # `expand` leaves out what the ledger does not have
                query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
                    key_of(child).text(), self._rows.table(child), columns.is_in()
                )
                more[child.name] |= {row[0] for row in self._rows.connection.execute(query, (ids,))}

    def _add_renamed(self, collection: Collection, ids: list[str], more: RowIds) -> None:
        """Add the rows of documents that ask for the ID of these rows, or for the ID that these rows asked for."""
        query = self._rows.namespace.sql(
            "WITH asked AS (SELECT original_id FROM {aliases} WHERE collection = %(name)s AND target = ANY(%(ids)s)"
            " UNION SELECT unnest(%(ids)s::text[]))"
            " SELECT original_id FROM asked UNION SELECT a.target FROM {aliases} a JOIN asked USING (original_id)"
            " WHERE a.collection = %(name)s AND a.target IS NOT NULL"
        )
        values = {"name": collection.name, "ids": ids}
        more[collection.name] |= {row[0] for row in self._rows.connection.execute(query, values)}

    def _add_group(self, collection: Collection, ids: list[str], more: RowIds) -> None:
        """Add the rows in the groups of these rows whose parent was not decided by their document alone."""
        if collection.tree is None:
            return
        groups = values_of(self._rows, collection, collection.tree.within, ids)
        more[collection.name] |= self.undecided_rows(collection, sorted(groups))

    def undecided_rows(self, collection: Collection, groups: list[str]) -> set[str]:
        """Return the rows of groups of a tree whose parent, or a finding about it, depends on other rows.

        `Trees.resolve` decides about them again. All other rows have the parent that their document names.
        """
        tree = collection.tree
        assert tree is not None  # checked by the caller
        if not groups:
            return set()
        query = self._rows.namespace.sql(
            "SELECT {key} FROM {table} m JOIN {ledger} l ON l.target_id = {key}"
            " AND l.collection = %(name)s AND l.outcome = 'loaded' WHERE m.{within} = ANY(%(groups)s::{kind}[])"
            " AND (m.{parent}::text IN (SELECT original_id FROM {aliases} WHERE collection = %(name)s"
            "  UNION SELECT target FROM {aliases} WHERE collection = %(name)s)"
            " OR EXISTS (SELECT FROM {findings} f WHERE f.source_id = l.source_id AND f.collection = %(name)s"
            "  AND f.code = ANY(%(codes)s)))",
            table=self._rows.table(collection),
            key=key_of(collection).text("m"),
            within=sql.Identifier(tree.within),
            parent=sql.Identifier(tree.parent),
            kind=sql.SQL(kind_of_column(collection.table.c[tree.within])),
        )
        codes = [*PARENT_CODES, tree.disagreement]
        values = {"name": collection.name, "groups": groups, "codes": codes}
        return {row[0] for row in self._rows.connection.execute(query, values)}

    def _add_listed(self, collection: Collection, ids: list[str], more: RowIds) -> None:
        """Add the rows that these rows list."""
        query = self._rows.namespace.sql("SELECT listed FROM {links} WHERE collection = %s AND lister = ANY(%s)")
        for path in collection.link_names:
            for mapping in self._rows.mappings.values():
                if mapping.listed_by == path:
                    more[mapping.name] |= {row[0] for row in self._rows.connection.execute(query, (path, ids))}
