"""Answers the lookups of a batch of documents with one query each: `References` for the translation."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from migrator.documents.codec import Document
from migrator.mapping.collection import Collection
from migrator.mapping.context import Found, Lookup
from migrator.postgres.copy_format import kind_of_column
from migrator.state.journal import Namespace
from migrator.translation.encoder import spell_id

Resolved = dict[tuple[str, str], dict[Any, tuple[Found, ...]]]
Answers = dict[Any, list[Found]]


class RowLookup:
    """Looks up rows of the tenant for documents. Keeps what it found for as long as the rows cannot change: one level.

    `most` bounds the memory of that cache, in keys per lookup.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        namespace: Namespace,
        mappings: Mapping[str, Collection],
        tenant: uuid.UUID,
        most: int = 20_000,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._mappings = mappings
        self._tenant = tenant
        self._most = most
        # By what was asked for, too: collections of one level may ask the same for different columns.
        self._known: dict[tuple[str, ...], dict[Any, tuple[Found, ...]]] = defaultdict(dict)

    def references(self, collection: Collection, documents: Iterable[Document]) -> Resolved:
        """Everything these documents may ask `Context.find` for."""
        documents = list(documents)
        return {lookup.name: self._learn(lookup, lookup.keys(documents)) for lookup in collection.lookups}

    def listed(self, collection: Collection, documents: Iterable[Document]) -> dict[Any, tuple[tuple[Any, int], ...]]:
        """Who lists these documents, where the mapping says that somebody does: `Context.listed`."""
        if collection.listed_by is None:
            return {}
        claimed = {spell_id(collection.key.uuid(document.get(collection.key.path))) for document in documents}
        query = self._namespace.sql(
            "SELECT listed, lister, position FROM {links} WHERE collection = %s AND listed = ANY(%s)"
            " ORDER BY listed, lister, position"
        )
        answers: dict[Any, tuple[tuple[Any, int], ...]] = {}
        for listed, lister, position in self._connection.execute(query, (collection.listed_by, list(claimed))):
            key = uuid.UUID(listed).bytes
            answers[key] = (*answers.get(key, ()), (uuid.UUID(lister).bytes, position))
        return answers

    def _learn(self, lookup: Lookup, keys: set[Any]) -> dict[Any, tuple[Found, ...]]:
        known = self._known[*lookup.name, *lookup.carry]
        missing = keys - known.keys()
        if not missing:
            return known
        if len(known) + len(missing) > self._most:
            known.clear()
            missing = keys
        answers = self._ask(lookup, list(missing))
        known.update({key: tuple(answers.get(key, ())) for key in missing})
        return known

    def _ask(self, lookup: Lookup, keys: list[Any]) -> Answers:
        if lookup.by == "_id":
            return self._ask_ledger(lookup, keys)
        answers = self._ask_table(lookup, keys)
        if lookup.by == "id":
            for key, found in self._ask_aliases(lookup, keys).items():
                answers[key] += found
        return answers

    def _ask_table(self, lookup: Lookup, keys: list[Any]) -> Answers:
        table, column = self._mappings[lookup.collection].table, sql.Identifier(lookup.by)
        cast = sql.SQL(kind_of_column(table.c[lookup.by]))
        query = self._select(lookup, sql.SQL("t.{}").format(column))
        query += sql.SQL(" FROM {} t WHERE t.{} = ANY(%s::{}[]) AND t.tenant_id = %s ORDER BY t.id").format(
            self._namespace.table(table.name), column, cast
        )
        return self._collect(lookup, query, (array_for_sql(keys), self._tenant))

    def _ask_aliases(self, lookup: Lookup, keys: list[Any]) -> Answers:
        table = self._mappings[lookup.collection].table
        cast = sql.SQL("uuid" if kind_of_column(table.c.id) == "uuid" else "text")
        query = self._select(lookup, sql.SQL("a.claimed::{}").format(cast), owner=sql.SQL("a.owner"))
        query += self._namespace.sql(
            " FROM {aliases} a JOIN {table} t ON t.id = a.target::{cast}"
            " WHERE a.collection = %s AND a.claimed = ANY(%s) AND t.tenant_id = %s ORDER BY t.id",
            table=self._namespace.table(table.name),
            cast=cast,
        )
        return self._collect(lookup, query, (lookup.collection, [spell_id(key) for key in keys], self._tenant))

    def _ask_ledger(self, lookup: Lookup, keys: list[Any]) -> Answers:
        table = self._mappings[lookup.collection].table
        query = self._select(lookup, sql.SQL("l.source_id"))
        query += self._namespace.sql(
            " FROM {ledger} l JOIN {table} t ON t.id::text = l.target_id"
            " WHERE l.collection = %s AND l.source_id = ANY(%s) ORDER BY t.id",
            table=self._namespace.table(table.name),
        )
        return self._collect(lookup, query, (lookup.collection, keys))

    def _select(self, lookup: Lookup, key: sql.Composable, owner: sql.Composable = sql.NULL) -> sql.Composed:
        columns = [self._column(lookup, name) for name in ("id", *lookup.carry)]
        return sql.SQL("SELECT ") + sql.SQL(", ").join([key, owner, *columns])

    def _column(self, lookup: Lookup, name: str) -> sql.Composed:
        column = sql.SQL("t.{}").format(sql.Identifier(name))
        if kind_of_column(self._mappings[lookup.collection].table.c[name]) == "timestamp":
            # A plain value, as everywhere; and PostgreSQL has dates that Python has not.
            return sql.SQL("(extract(epoch FROM {}) * 1000000)::bigint").format(column)
        return column

    def _collect(self, lookup: Lookup, query: sql.Composed, values: tuple[Any, ...]) -> Answers:
        answers: Answers = defaultdict(list)
        with self._connection.cursor(binary=True) as cursor:
            cursor.adapters.register_loader("uuid", PlainUuid)
            for key, owner, row_id, *carried in cursor.execute(query, values):
                answers[key].append(Found(row_id, dict(zip(lookup.carry, carried, strict=True)), owner))
        return answers


class PlainUuid(Loader):
    """A UUID as the plain value of mappings, its 16 bytes: an object for each takes longer than the whole question."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def array_for_sql(values: list[Any]) -> Any:
    """Plain ids → a psycopg parameter for an array; UUIDs as one literal: objects take psycopg longer to write than the
    server takes to look them up."""
    uuids = bool(values) and isinstance(values[0], bytes)
    return "{" + ",".join([value.hex() for value in values]) + "}" if uuids else values


def for_sql(value: Any) -> Any:
    """A plain id → a psycopg parameter."""
    return uuid.UUID(bytes=value) if isinstance(value, bytes) else value


def plain(value: Any) -> Any:
    """A value as psycopg loads it → the plain value of mappings."""
    return value.bytes if isinstance(value, uuid.UUID) else value
