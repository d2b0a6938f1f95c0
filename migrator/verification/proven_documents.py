"""Proves by checksums which documents PostgreSQL can rebuild, so that they need not be rebuilt one by one.

The scratch run restores each document from the row that it sends (`rows.sent_rows`). If all rows and records of the
target are equal to those of the scratch run, and PostgreSQL returns values of the columns as they were sent, the target
restores the same documents. Those whose row or record was changed after the load are rebuilt, and all if a count does
not add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString

from psycopg import sql

from migrator.execution.tasks import TaskResult
from migrator.mapping.collection import Collection
from migrator.mapping.shared_tables import is_shared
from migrator.postgres.table_names import name_of
from migrator.rows.sent_rows import MOST_OTHERS, RestoredCounts
from migrator.state.records import Connection, Namespace
from migrator.state.row_keys import key_of
from migrator.verification.model import Check, Scope
from migrator.verification.prescan import Prescan

FEWEST_ROWS = 10_000  # of a table; the documents of a smaller one are rebuilt in less than a second
# Values of these types, and of enums, have one binary form, which PostgreSQL returns as it was sent, and two are equal
# only if they are the same. Numeric, floats, JSON and the types of extensions do not have both properties.
RETURNED_AS_SENT = (
    "boolean", "smallint", "integer", "bigint", "uuid", "text", "character varying", "bytea", "date",
    "timestamp without time zone", "timestamp with time zone",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What is proven of a collection: the number of its documents, and the source IDs of those not to rely on it."""

    documents: int
    others: frozenset[bytes]


class ProvenDocuments:
    """The documents that the scratch run restores. `names`: the collections of which documents may be proven."""

    def __init__(self, scope: Scope, scan: Prescan, scratch: Namespace, *, rebuilds_all: bool) -> None:
        self._scope, self._scan, self._scratch = scope, scan, scratch
        can = rebuilds_all and scope.connection.info.parameter_status("server_encoding") == "UTF8"
        large = [each for each in scope.chosen.values() if scan.tables[name_of(each.table)].rows >= FEWEST_ROWS]
        self.names = frozenset(each.name for each in large if can and self._can_prove(each))
        self._found = {name: RestoredCounts(name) for name in self.names}
        self._changed: dict[str, list[bytes] | None] = {}

    def add(self, result: TaskResult) -> None:
        """Add the result of a task of the scratch run."""
        if result.restored is not None:
            self._found[result.restored.collection].add(result.restored)

    def find_changed(self) -> list[Callable[[Scope], None]]:
        """Return the functions that find the changed documents after the scratch run, one for each collection."""
        return [partial(self._find_changed, name) for name in sorted(self.names)]

    def conclude(self, checks: Sequence[Check]) -> dict[str, Proof]:
        """Return what is proven, by collection, after all rows and records were compared with these results."""
        if not all(check.ok for check in checks):
            return {}
        proofs = {name: self._prove(found) for name, found in self._found.items()}
        return {name: proof for name, proof in proofs.items() if proof is not None}

    def _can_prove(self, collection: Collection) -> bool:
        if collection.children or collection.member_lists or collection.filled_later:
            return False  # a document needs more than its row and those to which this refers
        if is_shared(self._scope.mappings, collection):
            return False
        kinds = dict(collection.kinds)
        for _, here, there, _ in collection.carried_columns:
            if kinds[here] != key_of(self._scope.mappings[there]).kind:
                return False
        tables = (each.table(name_of(collection.table)) for each in (self._scope.namespace, self._scratch))
        columns = [column.name for column in collection.columns]
        return all(returns_as_sent(self._scope.connection, table, columns) for table in tables)

    def _prove(self, found: RestoredCounts) -> Proof | None:
        """Return what is proven of a collection; None if all its documents must be rebuilt."""
        recorded = sum(count for (name, _), count in self._scan.records.counts.items() if name == found.collection)
        if not found.documents or len(found.others) > MOST_OTHERS or found.documents != recorded:
            return None  # the source lacks it, or a part was loaded before an interruption, or twice
        changed = self._changed[found.collection]
        if changed is None or len(changed) + len(found.others) > MOST_OTHERS:
            return None
        return Proof(documents=found.documents, others=frozenset([*found.others, *changed]))

    def _find_changed(self, name: str, scope: Scope) -> None:
        loaded, _ = self._scan.records.loaded(name)
        self._changed[name] = self._read_changed(scope.connection, name, loaded)

    def _read_changed(self, connection: Connection, name: str, loaded: int) -> list[bytes] | None:
        """Return the source IDs of the documents whose row or ledger entry no batch of the scratch run wrote.

        None if these are too many, or if there are not as many rows as `loaded` documents. Only the few rows that were
        changed are joined with the ledger: joining all takes half as long as reading the documents back.
        """
        mapping = self._scope.mappings[name]
        table, key = self._scratch.table(name_of(mapping.table)), key_of(mapping).text("t")
        ((rows, others),) = self._read(
            connection,
            "SELECT count(*), count(*) FILTER (WHERE xmin NOT IN (SELECT xmin FROM {batches})) FROM {table}",
            table=table,
        )
        if rows != loaded or others > MOST_OTHERS:
            return None
        entries = self._read(
            connection,
            "SELECT source_id FROM {ledger} WHERE collection = {name} AND xmin NOT IN (SELECT xmin FROM {batches})"
            " LIMIT {most}",
            name=sql.Literal(name), most=sql.Literal(MOST_OTHERS + 1),
        )  # fmt: skip
        if others:
            keys = self._read(
                connection,
                "SELECT {key} FROM {table} t WHERE xmin NOT IN (SELECT xmin FROM {batches})",
                key=key,
                table=table,
            )
            entries += self._read(
                connection,
                "SELECT l.source_id FROM unnest({keys}::text[]) c (target_id) JOIN {ledger} l USING (target_id)"
                " WHERE l.collection = {name}",
                name=sql.Literal(name), keys=sql.Literal([key for (key,) in keys]),
            )  # fmt: skip
        return [bytes(source_id) for (source_id,) in entries]

    def _read(self, connection: Connection, query: LiteralString, **names: sql.Composable) -> list[Any]:
        return connection.execute(self._scratch.sql(query, **names), binary=True).fetchall()


def returns_as_sent(connection: Connection, table: sql.Identifier, columns: Sequence[str]) -> bool:
    """Return whether PostgreSQL returns the values of these columns of a table as they are sent.

    It rounds or cuts those of a type with a modifier: `timestamp(3)`, `varchar(10)`.
    """
    query = (
        "SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid"
        " LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation"
        " WHERE a.attrelid = %s::regclass AND a.attname = ANY(%s) AND coalesce(c.collisdeterministic, true)"
        " AND a.atttypmod = -1 AND (y.oid = ANY(%s::regtype[]) OR y.typtype = 'e')"
    )
    found = connection.execute(query, (table.as_string(connection), list(columns), list(RETURNED_AS_SENT))).fetchone()
    return found == (len(columns),)
