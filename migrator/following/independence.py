"""Which changes of a collection leave the outcome of every other document as it is. Such changes are simple.

The checks are few queries over all changes of a batch. A change that is not certainly simple is left to
`resolution.py`, which is slower.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from psycopg import sql

from migrator.following.changes import Change, LinkItem
from migrator.following.closure import Closure
from migrator.following.interests import LISTED, looked_up_columns, loose_lookups, offered_ids, offers_of
from migrator.mapping.collection import Collection
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.table_names import name_of
from migrator.reconciliation.trees import PARENT_CODES
from migrator.rows.members import owners_of
from migrator.rows.selection import read_columns
from migrator.rows.store import RowStore
from migrator.state import wants
from migrator.state.row_keys import column_of, referring_columns
from migrator.state.wants import Wanted
from migrator.translation.encoder import format_target_id

WANTED_TOGETHER = 16  # rows that are not distinguished further: that would take more time than it saves


class Independence:
    """Checks the changes of one collection."""

    def __init__(self, rows: RowStore, collection: Collection, closure: Closure) -> None:
        self._rows, self._collection, self._closure = rows, collection, closure
        self._key = collection.key.column

    # --- what the mappings say ---------------------------------------------------------------------------------------

    @cached_property
    def carried(self) -> frozenset[str]:
        """The columns that other documents carry by foreign keys. If only these change, the documents are written
        again (`simple_batch.py`)."""
        return frozenset(column for column, is_found in self._carrying() if is_found) - self.identity

    def _carrying(self) -> Iterator[tuple[str, bool]]:
        """Yield each column that other documents carry, and whether a foreign key finds the rows of these documents."""
        mappings, table = self._rows.mappings.values(), self._collection.table
        for mapping in mappings:
            alone = sum(name_of(each.table) == name_of(mapping.table) for each in mappings) == 1
            for _, here, there, column in mapping.carried_columns:
                if there == self._collection.name:
                    keys = mapping.table.c[here].foreign_keys
                    yield column, alone and any(key.column.table is table for key in keys)

    @cached_property
    def identity(self) -> frozenset[str]:
        """The columns that other documents use otherwise. A change of one of them is never simple."""
        name, collection = self._collection.name, self._collection
        found = {*self._collection.key.key_columns, *looked_up_columns(self._rows.mappings, collection)}
        found |= {column for column, is_found in self._carrying() if not is_found}
        for mapping in self._rows.mappings.values():
            for lookup in mapping.lookups:
                if lookup.collection == name and (lookup.by != self._key or lookup.name in loose_lookups(mapping)):
                    found |= set(lookup.carry)
            found |= {expected.flag for expected in mapping.expected if expected.collection == name}
        found |= {rule.reference_column for _, rule in owners_of(self._rows.mappings, name)}
        found |= {expected.reference_column for expected in collection.expected}
        for latest in collection.latest_values:
            found |= {latest.value_column, latest.reference_column}
        if collection.tree is not None:
            found |= {collection.tree.parent, collection.tree.within, collection.tree.order}
        return frozenset(found)

    @cached_property
    def special_codes(self) -> list[str]:
        """The codes of findings that depend on several documents."""
        codes = {
            expected.code
            for mapping in self._rows.mappings.values()
            for expected in mapping.expected
            if expected.collection == self._collection.name
        }
        if self._collection.tree is not None:
            codes |= {*PARENT_CODES, self._collection.tree.disagreement}
        return sorted(codes)

    @cached_property
    def is_expected(self) -> bool:
        """Whether findings about missing rows depend on rows of this collection."""
        name = self._collection.name
        expectations = [
            (mapping.name, expected.collection)
            for mapping in self._rows.mappings.values()
            for expected in mapping.expected
        ]
        return any(name in pair for pair in expectations)

    @property
    def _listings(self) -> list[str]:
        return list(self._collection.link_names)

    @property
    def _children_link(self) -> str | None:
        tree = self._collection.tree
        return f"{self._collection.name}.{tree.link}" if tree is not None and tree.link is not None else None

    # --- updates -----------------------------------------------------------------------------------------------------

    def independent_updates(self, changes: list[Change]) -> list[Change]:
        """Return the simple changes of rows."""
        left = [each for each in changes if self._keeps_identity(each)]
        ids = [each.target_id for each in left]
        excluded = self._aliased(ids) | self._with_special_findings(left) | self._changed_links(left)
        rootless = [
            each.target_id
            for each in left
            if self._collection.tree is not None and each.value(self._collection.tree.parent) is None
        ]
        excluded |= self._listed(rootless)
        left = [each for each in left if each.target_id not in excluded]
        wanted = self._wanted([each for each in left if self.changes_carried(each)])
        return [each for each in left if each.target_id not in wanted]

    def changes_carried(self, change: Change) -> bool:
        """Return whether values change that other documents carry."""
        return not all(map(change.keeps, self.carried))

    def _keeps_identity(self, change: Change) -> bool:
        return all(map(change.keeps, self.identity))

    def _with_special_findings(self, changes: list[Change]) -> set[str]:
        if not self.special_codes:
            return set()
        query = self._rows.namespace.sql(
            "SELECT DISTINCT source_id FROM {findings} WHERE collection = %s AND code = ANY(%s) AND source_id = ANY(%s)"
        )
        values = (self._collection.name, self.special_codes, [each.source_id for each in changes])
        found = {bytes(row[0]) for row in self._rows.connection.execute(query, values, binary=True)}
        return {each.target_id for each in changes if each.source_id in found}

    def _changed_links(self, changes: list[Change]) -> set[str]:
        if not self._listings:
            return set()
        query = self._rows.namespace.sql(
            "SELECT lister, collection, listed, position FROM {links} WHERE collection = ANY(%s) AND lister = ANY(%s)"
        )
        present: dict[str, set[LinkItem]] = defaultdict(set)
        for lister, *link in self._rows.connection.execute(
            query, (self._listings, [each.target_id for each in changes])
        ):
            present[lister].add((link[0], link[1], link[2]))
        return {each.target_id for each in changes if present.get(each.target_id, set()) != each.links}

    # --- new rows ----------------------------------------------------------------------------------------------------

    def independent_inserts(self, changes: list[Change]) -> list[Change]:
        """Return the simple changes among documents that had no row."""
        if self.is_expected:
            return []
        ids = [each.target_id for each in changes]
        excluded = self._repeated(changes) | self._existing(changes) | self._aliased(ids) | self._wanted(changes)
        left = [each for each in changes if each.target_id not in excluded]
        return self._with_valid_parents(left) if self._collection.tree is not None else left

    def _repeated(self, changes: list[Change]) -> set[str]:
        """Return the IDs of changes that have an ID or a unique value in common."""
        found: set[str] = set()
        for column in (self._key, *self._collection.unique):
            by_value: dict[Any, list[str]] = defaultdict(list)
            for each in changes:
                if each.value(column) is not None:
                    by_value[each.value(column)].append(each.target_id)
            found |= {row_id for same in by_value.values() if len(same) > 1 for row_id in same}
        return found

    def _existing(self, changes: list[Change]) -> set[str]:
        """Return the IDs of changes whose ID or unique value a row has."""
        found: set[str] = set()
        for column in (self._key, *self._collection.unique):
            values = {each.value(column) for each in changes if each.value(column) is not None}
            if values:
                known = column_of(self._collection, column)
                query = sql.SQL("SELECT {} FROM {} WHERE {}").format(
                    known.text(), self._rows.table(self._collection), known.is_in()
                )
                wanted = ([format_target_id(value) for value in values],)
                taken = {row[0] for row in self._rows.connection.execute(query, wanted)}
                found |= {
                    each.target_id
                    for each in changes
                    if each.value(column) is not None and format_target_id(each.value(column)) in taken
                }
        return found

    def _wanted(self, changes: list[Change]) -> set[str]:
        """Return the IDs of changes that other documents wait for."""
        name, columns = self._collection.name, looked_up_columns(self._rows.mappings, self._collection)
        offers: dict[Wanted, str] = {}
        for each in changes:
            offers |= dict.fromkeys(offered_ids(self._collection, each.source_id), each.target_id)
            for column in columns:
                if each.value(column) is not None:
                    offers[wants.wanted(name, column, each.value(column))] = each.target_id
            for path, listed, _ in each.links:
                offers[Wanted(path, LISTED, listed)] = each.target_id
        query = self._rows.namespace.sql(
            "SELECT DISTINCT v.id FROM unnest(%s::text[], %s::text[], %s::text[]) AS v (name, value, id)"
            " WHERE EXISTS (SELECT FROM {wants} w WHERE w.wanted = v.name AND w.value = v.value)"
        )
        values = ([each.name for each in offers], [each.value for each in offers], list(offers.values()))
        return {row[0] for row in self._rows.connection.execute(query, values)}

    def _with_valid_parents(self, changes: list[Change]) -> list[Change]:
        """Return the changes without children or listing rows, whose parent is an older row of the group."""
        tree, key = self._collection.tree, self._key
        assert tree is not None  # checked by the caller
        ids = [each.target_id for each in changes]
        excluded = self._listed(ids) | {each.target_id for each in changes if each.links}
        named = {each.value(tree.parent) for each in changes if each.value(tree.parent) is not None}
        excluded_parents = self._aliased([format_target_id(each) for each in named])
        places = self._places(named)
        found = []
        for each in sorted(changes, key=lambda each: (each.value(tree.order) or 0, each.value(key))):
            row_id, parent, place = (
                each.value(key),
                each.value(tree.parent),
                (each.value(tree.within), each.value(tree.order)),
            )
            if each.target_id in excluded or None in place:
                continue
            if parent is not None:
                above = places.get(parent)
                if above is None or format_target_id(parent) in excluded_parents or above[0] != place[0]:
                    continue
                if (above[1], parent) >= (place[1], row_id):
                    continue
            places[row_id] = place
            found.append(each)
        return found

    def _places(self, row_ids: Iterable[Any]) -> dict[Any, tuple[Any, Any]]:
        """Return the group and the order of rows, as plain values."""
        tree, ids = self._collection.tree, [format_target_id(each) for each in row_ids]
        assert tree is not None  # checked by the caller
        if not ids:
            return {}
        columns = [self._key, tree.within, tree.order]
        found = read_columns(self._rows, self._collection, columns, ids)
        return {row_id: (within, order) for row_id, within, order in found}

    # --- documents that are gone -------------------------------------------------------------------------------------

    def independent_deletes(self, rows: Mapping[bytes, str]) -> dict[bytes, str]:
        """Return the simple deletions. `rows`: `source_id` → target ID of loaded documents."""
        if self.is_expected or not rows:
            return {}
        ids = list(rows.values())
        excluded = self._aliased(ids) | self._listed(ids) | self._lists(ids) | self._referenced(ids)
        excluded |= self._wanted_rows(ids)
        excluded |= self._parents_of_others(ids, excluded)
        return {source_id: row_id for source_id, row_id in rows.items() if row_id not in excluded}

    def _referenced(self, ids: list[str]) -> set[str]:
        """Return the rows that rows outside of `ids` refer to."""
        found: set[str] = set()
        for key in self._closure.keys_to(self._collection):
            columns = referring_columns(self._collection, key)
            query = sql.SQL("SELECT DISTINCT {} FROM {} WHERE {}").format(
                columns.text(), key.child.identifier, columns.is_in()
            )
            found |= {row[0] for row in self._rows.connection.execute(query, (ids,))}
        return found

    def _parents_of_others(self, ids: list[str], excluded: set[str]) -> set[str]:
        """Return the rows of a tree that are above a row which is not deleted."""
        if self._collection.tree is None:
            return set()
        query = sql.SQL("SELECT {key}::text, {parent}::text FROM {table} WHERE {parent} = ANY(%s::{kind}[])").format(
            key=sql.Identifier(self._key),
            parent=sql.Identifier(self._collection.tree.parent),
            table=self._rows.table(self._collection),
            kind=sql.SQL(kind_of_column(self._collection.table.c[self._key])),
        )
        parents = {row[0]: row[1] for row in self._rows.connection.execute(query, (ids,))}
        deleted, found = set(ids) - excluded, set[str]()
        staying = [row_id for row_id in parents if row_id not in deleted]
        while staying:
            parent = parents.get(staying.pop())
            if parent is not None and parent not in found:
                found.add(parent)
                staying.append(parent)
        return found

    def _wanted_rows(self, ids: list[str]) -> set[str]:
        """Return the rows that documents wait for, with a few others."""
        offers = offers_of(self._rows, self._collection, ids)
        if not wants.find(self._rows.connection, self._rows.namespace, offers):
            return set()
        if len(ids) <= WANTED_TOGETHER:
            return set(ids)
        middle = len(ids) // 2
        return self._wanted_rows(ids[:middle]) | self._wanted_rows(ids[middle:])

    # --- queries for several kinds -----------------------------------------------------------------------------------

    def _aliased(self, ids: list[str]) -> set[str]:
        """Return the IDs that take part in an ID conflict."""
        query = self._rows.namespace.sql(
            "SELECT original_id FROM {aliases} WHERE collection = %(name)s AND original_id = ANY(%(ids)s)"
            " UNION SELECT target FROM {aliases} WHERE collection = %(name)s AND target = ANY(%(ids)s)"
        )
        values = {"name": self._collection.name, "ids": ids}
        return {row[0] for row in self._rows.connection.execute(query, values)}

    def _listed(self, ids: list[str]) -> set[str]:
        """Return the rows that other rows of the tree list as their children."""
        if self._children_link is None or not ids:
            return set()
        query = self._rows.namespace.sql("SELECT listed FROM {links} WHERE collection = %s AND listed = ANY(%s)")
        return {row[0] for row in self._rows.connection.execute(query, (self._children_link, ids))}

    def _lists(self, ids: list[str]) -> set[str]:
        """Return the rows that list others."""
        if not self._listings:
            return set()
        query = self._rows.namespace.sql("SELECT lister FROM {links} WHERE collection = ANY(%s) AND lister = ANY(%s)")
        return {row[0] for row in self._rows.connection.execute(query, (self._listings, ids))}
