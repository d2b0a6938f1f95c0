"""Columns that hold the latest value of the rows of another collection (`LatestOf`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg import sql

from migrator.mapping.collection import Collection, LatestOf
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.session import owner_search_path
from migrator.postgres.table_names import name_of
from migrator.rows.refusals import REFUSALS, UpdatesRefusedError, find_documents, find_refused, is_refusal
from migrator.rows.store import RowStore
from migrator.state.own_transactions import own_transaction, record_transaction
from migrator.state.tenant import own_rows


def mapping_of(rows: RowStore, table: str) -> Collection:
    """Return the collection whose documents become rows of a table."""
    return next(mapping for mapping in rows.mappings.values() if name_of(mapping.table) == table)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestValue:
    """One such column, filled from the rows of `collection`."""

    rows: RowStore
    collection: Collection
    latest: LatestOf
    tenant: UUID

    def update(self, ids: Sequence[str] | None = None) -> None:
        """Update the rows whose value differs; with `ids`, only these rows. Requires a transaction."""
        record_transaction(self.rows.connection, self.rows.namespace)
        query = self._compose("UPDATE {other} t SET {column} = n.newest FROM {newest} WHERE {differs}")
        chosen = sql.SQL(" AND t.{}::text OPERATOR(pg_catalog.=) ANY(%(ids)s::text[])").format(self._other_key)
        with owner_search_path(self.rows.connection):
            self.rows.connection.execute(query if ids is None else query + chosen, {"ids": list(ids or ())})

    def update_some(self, ids: Sequence[str]) -> None:
        """Update the rows `ids`, to NULL if no row refers to them any more. Requires a transaction.

        Raises: `UpdatesRefusedError` if the target refuses a value.
        """
        connection, namespace = self.rows.connection, self.rows.namespace
        try:
            with own_transaction(connection, namespace):
                self._update_some(ids)
        except REFUSALS as error:
            mapping = mapping_of(self.rows, self.latest.table)
            if not is_refusal(connection, mapping, error):
                raise
            refused = _find_refused(self.rows, mapping, ids, self._update_some)
            raise UpdatesRefusedError(error, {mapping.name: refused}) from error

    def _update_some(self, ids: Sequence[str]) -> None:
        self._update_from(
            "SELECT i.id, (SELECT pg_catalog.max({of}) FROM {table}"
            " WHERE {by} OPERATOR(pg_catalog.=) i.id AND {own}) AS newest"
            " FROM pg_catalog.unnest(%(ids)s::{kind}[]) AS i (id)",
            "t.{column} IS DISTINCT FROM n.newest",
            self.latest.reference_column,
            ids,
        )

    def raise_to(self, ids: Sequence[str]) -> None:
        """Update the rows that the new rows `ids` of `collection` refer to. Requires a transaction."""
        self._update_from(
            "SELECT {by} AS id, pg_catalog.max({of}) AS newest FROM {table}"
            " WHERE {key} OPERATOR(pg_catalog.=) ANY(%(ids)s::{kind}[]) AND {own} GROUP BY 1",
            "(t.{column} IS NULL OR t.{column} OPERATOR(pg_catalog.<) n.newest)",
            self.collection.key.column,
            ids,
        )

    def _update_from(self, newest: LiteralString, condition: LiteralString, typed: str, ids: Sequence[str]) -> None:
        """Set the column to the values of the query `newest` (id, newest), where the condition holds.

        `typed`: the column whose type the IDs have.
        """
        names = {
            "table": self.rows.table(self.collection),
            "own": self._own_rows,
            "column": sql.Identifier(self.latest.column),
            "by": sql.Identifier(self.latest.reference_column),
            "of": sql.Identifier(self.latest.value_column),
            "key": sql.Identifier(self.collection.key.column),
            "kind": sql.SQL(kind_of_column(self.collection.table.c[typed])),
        }
        query = sql.SQL(
            "UPDATE {other} t SET {column} = n.newest FROM ({newest}) n WHERE t.{id} OPERATOR(pg_catalog.=) n.id"
            " AND {own} AND {condition}"
        ).format(
            other=self.rows.namespace.table(self.latest.table),
            id=self._other_key,
            own=self._own_others,
            column=names["column"],
            newest=sql.SQL(newest).format(**names),
            condition=sql.SQL(condition).format(**names),
        )
        with owner_search_path(self.rows.connection):
            self.rows.connection.execute(query, {"ids": list(ids)})

    def differing_ids(self) -> list[str]:
        """Return the rows that `update` changes, in the order of their IDs."""
        query = self._compose("SELECT t.{id}::text FROM {other} t, {newest} WHERE {differs} ORDER BY t.{id}")
        return [row[0] for row in self.rows.connection.execute(query)]

    @property
    def _other_key(self) -> sql.Identifier:
        return sql.Identifier(mapping_of(self.rows, self.latest.table).key.column)

    @property
    def _own_others(self) -> sql.Composable:
        return own_rows(mapping_of(self.rows, self.latest.table).table, self.tenant)

    @property
    def _own_rows(self) -> sql.Composable:
        return own_rows(self.collection.table, self.tenant, name_of(self.collection.table))

    def stale_ids(self) -> list[str]:
        """Return the rows of loaded documents whose value is not the latest one, also those without any row."""
        holder = mapping_of(self.rows, self.latest.table)
        query = self.rows.namespace.sql(
            "SELECT t.{key}::text FROM {other} t JOIN {ledger} l ON l.target_id = t.{key}::text"
            " AND l.collection = {name} AND l.outcome = 'loaded'"
            " LEFT JOIN (SELECT {by} AS id, max({of}) AS newest FROM {table}"
            " WHERE tenant_id = %(tenant)s GROUP BY 1) n ON n.id = t.{key}"
            " WHERE t.tenant_id = %(tenant)s AND t.{column} IS DISTINCT FROM n.newest ORDER BY 1",
            key=sql.Identifier(holder.key.column),
            other=self.rows.table(holder),
            name=sql.Literal(holder.name),
            by=sql.Identifier(self.latest.reference_column),
            of=sql.Identifier(self.latest.value_column),
            table=self.rows.table(self.collection),
            column=sql.Identifier(self.latest.column),
        )
        return [row_id for (row_id,) in self.rows.connection.execute(query, {"tenant": self.tenant})]

    def _compose(self, template: LiteralString) -> sql.Composed:
        column = sql.Identifier(self.latest.column)
        newest = sql.SQL("(SELECT {by} AS id, pg_catalog.max({of}) AS newest FROM {table} WHERE {own} GROUP BY 1) n")
        differs = sql.SQL("t.{id} OPERATOR(pg_catalog.=) n.id AND {own} AND t.{column} IS DISTINCT FROM n.newest")
        return sql.SQL(template).format(
            other=self.rows.namespace.table(self.latest.table),
            column=column,
            id=self._other_key,
            newest=newest.format(
                table=self.rows.table(self.collection),
                own=self._own_rows,
                by=sql.Identifier(self.latest.reference_column),
                of=sql.Identifier(self.latest.value_column),
            ),
            differs=differs.format(column=column, id=self._other_key, own=self._own_others),
        )


@contextmanager
def explain_refused_values(rows: RowStore, collection: Collection, tenant: UUID) -> Iterator[None]:
    """Find the documents whose rows cannot hold a latest value, if the block fails because the target refuses one.

    Raises: `UpdatesRefusedError` with these documents.
    """
    try:
        yield
    except REFUSALS as error:
        refused: dict[str, dict[bytes, str]] = defaultdict(dict)
        for latest in collection.latest_values:
            mapping = mapping_of(rows, latest.table)
            if is_refusal(rows.connection, mapping, error):
                value = LatestValue(rows=rows, collection=collection, latest=latest, tenant=tenant)
                refused[mapping.name] |= _find_refused(rows, mapping, value.differing_ids(), value.update)
        if not any(refused.values()):
            raise
        raise UpdatesRefusedError(error, refused) from error


def _find_refused(
    rows: RowStore, mapping: Collection, ids: Sequence[str], update: Callable[[Sequence[str]], None]
) -> dict[bytes, str]:
    """Return the documents of the rows `ids` that the target does not let `update` change."""

    def write(start: int, stop: int) -> None:
        update(ids[start:stop])

    found = {ids[at]: cause for at, cause in find_refused(rows.connection, rows.namespace, len(ids), write)}
    return find_documents(rows.connection, rows.namespace, mapping.name, found)
