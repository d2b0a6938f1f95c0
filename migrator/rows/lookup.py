"""Looks up the rows that a batch of documents refers to, with one query per lookup."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

from psycopg import sql

from migrator.documents.codec import Document
from migrator.mapping.collection import Collection
from migrator.mapping.context import Lookup, Match
from migrator.mapping.shared_tables import mappings_of
from migrator.postgres.table_names import name_of
from migrator.rows.given_ids import GivenIds, has_derived_ids, has_given_ids, read_given_ids
from migrator.rows.plain_values import array_parameter, plain_cursor
from migrator.rows.store import RowStore
from migrator.state.row_keys import column_of, key_of
from migrator.state.tenant import own_rows
from migrator.translation.encoder import format_target_id

Resolved = dict[tuple[str, str], dict[Any, tuple[Match, ...]]]
Answers = dict[Any, list[Match]]
MAX_CACHED_KEYS = 20_000  # per lookup


class RowLookup:
    """Looks up rows of the tenant for documents.

    Results are cached. Use one instance only while the rows cannot change: for one level of collections.
    """

    def __init__(self, rows: RowStore, tenant: uuid.UUID, max_cached_keys: int = MAX_CACHED_KEYS) -> None:
        self._rows, self._tenant = rows, tenant
        self._max_cached_keys = max_cached_keys
        # The columns are part of the key: collections of one level may look up the same rows with other columns.
        self._cache: dict[tuple[str, ...], dict[Any, tuple[Match, ...]]] = defaultdict(dict)

    def references(self, collection: Collection, documents: Iterable[Document]) -> Resolved:
        """Return the result of every lookup that the documents may make with `Context.find`."""
        documents = list(documents)
        return {lookup.name: self._find(lookup, lookup.keys(documents)) for lookup in collection.lookups}

    def listed(self, collection: Collection, documents: Iterable[Document]) -> dict[Any, tuple[tuple[Any, int], ...]]:
        """Return which rows list these documents, for `Context.listed`: ID → (ID of the lister, position)."""
        if collection.listed_by is None:
            return {}
        wanted = {format_target_id(collection.key.uuid(document.get(collection.key.path))) for document in documents}
        query = self._rows.namespace.sql(
            "SELECT listed, lister, position FROM {links} WHERE collection = %s AND listed = ANY(%s)"
            " ORDER BY listed, lister, position"
        )
        answers: dict[Any, tuple[tuple[Any, int], ...]] = {}
        for listed, lister, position in self._rows.connection.execute(query, (collection.listed_by, list(wanted))):
            key = uuid.UUID(listed).bytes
            answers[key] = (*answers.get(key, ()), (uuid.UUID(lister).bytes, position))
        return answers

    def given_ids(self, collection: Collection, originals: Callable[[], Iterable[Any]]) -> GivenIds:
        """Return the IDs of rows whose documents give others (`originals`). A run on its own has none."""
        if not has_derived_ids(collection) or not self._has_given_ids:
            return {}
        return read_given_ids(self._rows, collection, originals())

    @cached_property
    def _has_given_ids(self) -> bool:
        return has_given_ids(self._rows)

    @cached_property
    def _has_aliases(self) -> bool:
        query = self._rows.namespace.sql("SELECT EXISTS (SELECT FROM {aliases})")
        return self._rows.connection.execute(query).fetchone() == (True,)

    def _find(self, lookup: Lookup, keys: set[Any]) -> dict[Any, tuple[Match, ...]]:
        cached = self._cache[*lookup.name, *lookup.carry]
        missing = {key for key in keys if key not in cached}  # `-` would iterate over all that is cached
        if not missing:
            return cached
        if len(cached) + len(missing) > self._max_cached_keys:
            cached.clear()
            missing = keys
        answers = self._query(lookup, list(missing))
        cached.update({key: tuple(answers.get(key, ())) for key in missing})
        return cached

    def _query(self, lookup: Lookup, keys: list[Any]) -> Answers:
        if lookup.by == "_id":
            return self._query_ledger(lookup, keys)
        answers = self._query_table(lookup, keys)
        if lookup.by == self._rows.mappings[lookup.collection].key.column:
            for key, found in self._query_aliases(lookup, keys).items() if self._has_aliases else ():
                if answers[key] or found[0].id is not None:  # matches without a row come last
                    answers[key] += found
            for key, found in self._query_given(lookup, keys).items() if self._has_given_ids else ():
                answers[key] += found
        return answers

    def _query_table(self, lookup: Lookup, keys: list[Any]) -> Answers:
        mapping = self._rows.mappings[lookup.collection]
        column = column_of(mapping, lookup.by)
        query = self._select(lookup, column.value("t"))
        query += sql.SQL(" FROM {} t WHERE {} AND {}{} ORDER BY {}").format(
            self._rows.table(mapping),
            column.is_in("t"),
            own_rows(mapping.table, self._tenant),
            self._not_of_others(lookup),
            key_of(mapping).value("t"),
        )
        return self._collect(lookup, query, (array_parameter(keys, column.kind),))

    def _not_of_others(self, lookup: Lookup) -> sql.Composable:
        """Return a condition that excludes rows of documents of other collections that fill the same table."""
        own = self._rows.mappings[lookup.collection]
        others = [each.name for each in mappings_of(self._rows.mappings, name_of(own.table)) if each is not own]
        if not others:
            return sql.SQL("")
        return self._rows.namespace.sql(
            " AND NOT EXISTS (SELECT FROM {ledger} l WHERE l.target_id = {key} AND l.collection = ANY({names})"
            " AND l.outcome = 'loaded')",
            key=key_of(own).text("t"),
            names=sql.Literal(others),
        )

    def _query_aliases(self, lookup: Lookup, keys: list[Any]) -> Answers:
        mapping = self._rows.mappings[lookup.collection]
        key = key_of(mapping)
        query = self._select(lookup, sql.SQL("a.original_id::{}").format(key.type), owner=sql.SQL("a.owner"))
        query += self._rows.namespace.sql(
            " FROM {aliases} a LEFT JOIN {table} t ON {joined}"
            " WHERE a.collection = %s AND a.original_id = ANY(%s) AND ({own} OR a.target IS NULL)"
            " ORDER BY {key}, a.owner",
            table=self._rows.table(mapping),
            key=key.value("t"),
            joined=key.is_text("t", sql.SQL("a.target")),
            own=own_rows(mapping.table, self._tenant),
        )
        return self._collect(lookup, query, (lookup.collection, [format_target_id(key) for key in keys]))

    def _query_given(self, lookup: Lookup, keys: list[Any]) -> Answers:
        mapping = self._rows.mappings[lookup.collection]
        key = key_of(mapping)
        query = self._select(lookup, sql.SQL("g.original_id::{}").format(key.type))
        query += self._rows.namespace.sql(
            " FROM {given_ids} g JOIN {table} t ON {joined}"
            " WHERE g.collection = %s AND g.original_id = ANY(%s) AND {own} ORDER BY {key}",
            table=self._rows.table(mapping),
            key=key.value("t"),
            joined=key.is_text("t", sql.SQL("g.target_id")),
            own=own_rows(mapping.table, self._tenant),
        )
        return self._collect(lookup, query, (lookup.collection, [format_target_id(key) for key in keys]))

    def _query_ledger(self, lookup: Lookup, keys: list[Any]) -> Answers:
        mapping = self._rows.mappings[lookup.collection]
        query = self._select(lookup, sql.SQL("l.source_id"))
        query += self._rows.namespace.sql(
            " FROM {ledger} l JOIN {table} t ON {text} = l.target_id"
            " WHERE l.collection = %s AND l.source_id = ANY(%s) ORDER BY {key}",
            table=self._rows.table(mapping),
            key=key_of(mapping).value("t"),
            text=key_of(mapping).text("t"),
        )
        return self._collect(lookup, query, (lookup.collection, keys))

    def _select(self, lookup: Lookup, key: sql.Composable, owner: sql.Composable = sql.NULL) -> sql.Composed:
        mapping = self._rows.mappings[lookup.collection]
        found = key_of(mapping)
        if not found.is_single and lookup.by != "_id":
            found = column_of(mapping, lookup.by)  # a reference by a part of the key has that part
        row_key = found.value("t")
        carried = [sql.Identifier("t", name) for name in lookup.carry]
        return sql.SQL("SELECT ") + sql.SQL(", ").join([key, owner, row_key, *carried])

    def _collect(self, lookup: Lookup, query: sql.Composed, values: tuple[Any, ...]) -> Answers:
        answers: Answers = defaultdict(list)
        with plain_cursor(self._rows.connection) as cursor:
            for key, owner, row_id, *carried in cursor.execute(query, values):
                answers[key].append(Match(row_id, dict(zip(lookup.carry, carried, strict=True)), owner))
        return answers
