"""The rows that a batch of changes affects, as they were at the last return and as they are now.

A document depends on its row, on columns of the rows that it refers to, and on the rows that it lists. So a change of a
row can change the documents of the rows that refer to it, and a new row the document of the row that lists it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from bson import ObjectId
from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.mapping.references import MemberList
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.table_names import name_of
from migrator.reversing.aliases import as_document, find_references
from migrator.reversing.births import new_source_id
from migrator.reversing.changes import Images, Key, Pending, read_present
from migrator.reversing.element_rows import read_elements
from migrator.rows.given_ids import add_given_ids, original_id
from migrator.rows.members import owners_of, read_list, some_members_query
from migrator.rows.store import RowStore
from migrator.translation.encoder import format_target_id, objectid_in

Entry = tuple[bytes, bytes | None]  # source_id, residue


class Views:
    """Rows before and after the changes of a batch, with the values that they carry and the rows that they list.

    `dirty`: the rows whose documents may change. `entries`: their ledger entries; `born`: those that have none yet,
    because the application created the row. `forced`: rows whose documents are written even if unchanged.
    """

    def __init__(
        self, rows: RowStore, pending: Pending, constants: dict[str, Row], forced: frozenset[Key] = frozenset()
    ) -> None:
        self._rows, self._pending, self._constants, self.forced = rows, pending, constants, forced
        self._present: Images = {}
        self._before: dict[Key, Row | None] = {}
        self._after: dict[Key, Row | None] = {}
        self._aliases: dict[Key, Any] = {}
        self.entries: dict[Key, Entry] = {}
        self.born: dict[Key, Entry] = {}
        for name in rows.mappings:
            self._load(name, pending.keys_of(name))
            self._read_entries(name, pending.keys_of(name))
        self._create_entries()
        self.dirty = self._find_dirty()
        self._complete()

    def before(self, key: Key) -> Row | None:
        """Return the row as it was at the last return; None if there was none."""
        return self._before[key]

    def after(self, key: Key) -> Row | None:
        """Return the row as it is; None if there is none."""
        return self._after[key]

    # --- rows --------------------------------------------------------------------------------------------------------

    def _load(self, name: str, ids: Iterable[str]) -> None:
        missing = [each for each in ids if (name, each) not in self._present]
        if missing:
            self._present |= read_present(self._rows, self._rows.mappings[name], missing)

    def _plain_before(self, key: Key) -> Row | None:
        return self._pending.before[key] if key in self._pending.before else self._present.get(key)

    # --- the ledger --------------------------------------------------------------------------------------------------

    def _read_entries(self, name: str, ids: list[str]) -> None:
        missing = [each for each in ids if (name, each) not in self.entries]
        query = self._rows.namespace.sql(
            "SELECT target_id, source_id, residue FROM {ledger} WHERE collection = %s AND target_id = ANY(%s)"
            " AND outcome = 'loaded'"
        )
        for target_id, source_id, residue in self._rows.connection.execute(query, (name, missing), binary=True):
            self.entries[name, target_id] = bytes(source_id), None if residue is None else bytes(residue)

    def _create_entries(self) -> None:
        """Give the new rows of the application a ledger entry. Rows of other tenants are left."""
        given = []
        for key in self._pending.before:
            row = self._present.get(key)
            if key in self.entries or row is None or self._pending.before[key] is not None:
                continue
            if any(row.get(column) != value for column, value in self._constants[key[0]].items()):
                continue
            collection = self._rows.mappings[key[0]]
            source_id = new_source_id(collection, row)
            self.born[key] = self.entries[key] = (source_id, None)
            original = original_id(collection, source_id, row[collection.key.column])
            if original is not None:
                given.append((key[0], original, key[1]))
        self._insert_entries()
        add_given_ids(self._rows, given)

    def _insert_entries(self) -> None:
        connection, namespace = self._rows.connection, self._rows.namespace
        query = namespace.sql(
            "INSERT INTO {ledger} (collection, source_id, target_id, outcome) SELECT collection, source_id, target_id,"
            " 'loaded' FROM unnest(%s::text[], %s::bytea[], %s::text[]) AS n (collection, source_id, target_id)"
        )
        if self.born:
            names, ids = [key[0] for key in self.born], [key[1] for key in self.born]
            connection.execute(query, (names, [each[0] for each in self.born.values()], ids))

    # --- what the changes affect -------------------------------------------------------------------------------------

    def _find_dirty(self) -> list[Key]:
        dirty = dict.fromkeys([*self._pending.keys, *sorted(self.forced)])
        dirty |= dict.fromkeys(self._carrying())
        dirty |= dict.fromkeys(self._listing())
        for name in self._rows.mappings:
            ids = [each for other, each in dirty if other == name]
            self._load(name, ids)
            self._read_entries(name, ids)
        return [key for key in dirty if key in self.entries]

    def _carrying(self) -> Iterable[Key]:
        """Yield the rows that carry a changed value of a row which existed before and exists now."""
        for child in self._rows.mappings.values():
            wanted: dict[str, set[str]] = defaultdict(set)  # referencing column → IDs
            for _, here, there, column in child.carried_columns:
                for key in self._pending.before:
                    before, after = self._pending.before[key], self._present.get(key)
                    if key[0] == there and before and after and before[column] != after[column]:
                        wanted[here].add(key[1])
            for here, ids in wanted.items():
                query = sql.SQL("SELECT {}::text FROM {} WHERE {} = ANY(%s::{}[])").format(
                    sql.Identifier(child.key.column),
                    self._rows.table(child),
                    sql.Identifier(here),
                    sql.SQL(kind_of_column(child.table.c[here])),
                )
                for (row_id,) in self._rows.connection.execute(query, (sorted(ids),)):
                    yield child.name, row_id

    def _listing(self) -> Iterable[Key]:
        """Yield the rows that list a row which is new, gone, or belongs to another row than before."""
        mappings = self._rows.mappings
        listing = {name: list(owners_of(mappings, name)) for name in mappings}
        for key in self._pending.before:
            for mapping, rule in listing[key[0]]:
                owners = self._owners(key, rule.reference_column)
                if owners[0] != owners[1]:
                    yield from ((mapping.name, owner) for owner in owners if owner is not None)

    def _owners(self, key: Key, column: str) -> tuple[str | None, str | None]:
        rows = self._pending.before[key], self._present.get(key)
        before, after = (None if row is None or row[column] is None else format_target_id(row[column]) for row in rows)
        return before, after

    # --- carried values and lists ------------------------------------------------------------------------------------

    def _complete(self) -> None:
        for name in self._rows.mappings:
            keys = [key for key in self.dirty if key[0] == name]
            if not keys:
                continue
            collection = self._rows.mappings[name]
            for _, here, there, _ in collection.carried_columns:
                rows = [row for key in keys for row in (self._plain_before(key), self._present.get(key)) if row]
                self._load(there, {format_target_id(row[here]) for row in rows if row[here] is not None})
            carried = collection.carried_columns
            lists = {rule.path: self._lists(collection, rule, keys) for rule in collection.member_lists}
            fields = read_elements(self._rows, collection, [key[1] for key in keys]) if collection.children else None
            for key in keys:
                self._before[key] = self._carry(carried, self._plain_before(key), self._plain_before)
                self._after[key] = self._carry(carried, self._present.get(key), self._present.get)
                for rule in collection.member_lists:
                    before, after = lists[rule.path][key[1]]
                    for row, members in ((self._before[key], before), (self._after[key], after)):
                        if row is not None:
                            row[rule.row_key] = members
                for row, elements in zip((self._before[key], self._after[key]), fields or (), strict=False):
                    if row is not None:
                        row.update(elements[key[1]])

    @staticmethod
    def _carry(
        carried: tuple[tuple[str, str, str, str], ...], row: Row | None, find: Callable[[Key], Row | None]
    ) -> Row | None:
        if row is None:
            return None
        complete = dict(row)
        for name, here, there, column in carried:
            referenced = None if row[here] is None else find((there, format_target_id(row[here])))
            complete[name] = None if referenced is None else referenced[column]
        return complete

    def _lists(
        self, collection: Collection, rule: MemberList, keys: list[Key]
    ) -> dict[str, tuple[list[ObjectId], list[ObjectId]]]:
        """Return ID of the row → the members that it listed, and lists now."""
        ids = [key[1] for key in keys]
        kind = sql.SQL(kind_of_column(collection.table.c[collection.key.column]))
        query = some_members_query(
            self._rows.namespace, self._rows.mappings, rule, sql.SQL("{}::{}[]").format(sql.Placeholder(), kind)
        )
        found = self._rows.connection.execute(query, (ids,), binary=True)
        present = {owner: read_list(members) for owner, members in found}
        before = {each: set(present.get(each, ())) for each in ids}
        for key in self._pending.before:
            entry = self.entries.get(key)
            objectid = None if entry is None else objectid_in(entry[0])
            if key[0] != rule.collection or objectid is None:
                continue
            old, new = self._owners(key, rule.reference_column)
            if old != new:
                member = ObjectId(objectid)
                if new in before:
                    before[new].discard(member)
                if old in before:
                    before[old].add(member)
        return {each: (sorted(before[each]), present.get(each, [])) for each in ids}

    def latest_values(self, collection: Collection, ids: list[str]) -> dict[str, Row]:
        """Return the columns that the latest value of other rows fills, as documents give it, by the ID of the row."""
        found: dict[str, Row] = defaultdict(dict)
        for mapping in self._rows.mappings.values():
            for latest in mapping.latest_values:
                if latest.table != name_of(collection.table) or not ids:
                    continue
                query = sql.SQL(
                    "SELECT {by}::text, floor(extract(epoch FROM max({value})) * 1000)::bigint * 1000 FROM {table}"
                    " WHERE {by} = ANY(%s::{kind}[]) GROUP BY 1"
                ).format(
                    by=sql.Identifier(latest.reference_column),
                    value=sql.Identifier(latest.value_column),
                    table=self._rows.table(mapping),
                    kind=sql.SQL(kind_of_column(collection.table.c[collection.key.column])),
                )
                for row_id, value in self._rows.connection.execute(query, (ids,)):
                    found[row_id][latest.column] = value
        return found

    # --- IDs of documents --------------------------------------------------------------------------------------------

    def as_document(self, collection: Collection, row: Row) -> Row:
        """Return a row with the IDs that documents use, where they differ: a new user has an `_id` of its own."""
        return as_document(self._rows.mappings, collection, row, self._aliases) if self._aliases else row

    def read_aliases(self, collection: Collection, rows: Iterable[Row]) -> None:
        """Read the `_id`s of rows that are referred to, if they do not follow from the IDs of these rows."""
        for there, values in find_references(self._rows.mappings, collection, rows).items():
            self._read_entries(there, list(values))
            for text, value in values.items():
                if entry := self.entries.get((there, text)):
                    alias = original_id(self._rows.mappings[there], entry[0], value)
                    if alias is not None:
                        self._aliases[there, text] = alias
