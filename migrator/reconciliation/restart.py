"""Removes what a run has loaded, so that it can be loaded again.

All of it, without the documents that the target refuses: a later change of a row (a parent, a latest value) can violate
a constraint of the owner. Its document is then rejected, and so is what depends on it. Only a load that rejects it from
the beginning decides all of that correctly.

Or some batches, right after the load of their collection: what is left is what an interrupted run would have left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.postgres.session import owner_search_path
from migrator.rows.copy import delete_loaded_children
from migrator.rows.store import RowStore
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Connection
from migrator.state.row_keys import key_of

LOADED = ("ledger", "rejects", "archive", "findings", "aliases", "links", "member_lists", "batches")
OF_BATCH = tuple(name for name in LOADED if name != "aliases")  # what the transaction of a batch writes
STEPS = ("reconcile %", "merge %")


def has_foreign_edits(rows: RowStore) -> bool:
    """Return whether other clients have changed loaded rows, so that they must not be deleted."""
    query = rows.namespace.sql("SELECT EXISTS (SELECT FROM {foreign_edits})")
    return rows.connection.execute(query).fetchone() == (True,)


def undo_load(rows: RowStore, collections: Iterable[Collection], refused: Mapping[str, Mapping[bytes, str]]) -> None:
    """Delete all loaded rows and their records, and record the refused documents, in one transaction.

    `collections`: in the order of the load. `refused`: collection → `source_id` → detail of the reject.
    """
    connection, namespace, collections = rows.connection, rows.namespace, list(collections)
    with connection.transaction():
        record_transaction(connection, namespace)
        for collection in collections:
            delete_loaded_children(connection, namespace, collection)
        with owner_search_path(connection):
            for collection in reversed(collections):
                query = namespace.sql(
                    "DELETE FROM {table} t USING {ledger} l WHERE l.collection OPERATOR(pg_catalog.=) %s"
                    " AND l.outcome OPERATOR(pg_catalog.=) 'loaded'"
                    " AND l.target_id OPERATOR(pg_catalog.=) {key}",
                    table=rows.table(collection),
                    key=key_of(collection).text("t"),
                )
                connection.execute(query, (collection.name,))
        for name in LOADED:
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(namespace.records, name)))
        connection.execute(namespace.sql("DELETE FROM {steps} WHERE step LIKE ANY(%s)"), (list(STEPS),))
        query = namespace.sql("INSERT INTO {refusals} (collection, source_id, detail) VALUES (%s, %s, %s)")
        values = [(name, *each) for name, documents in refused.items() for each in documents.items()]
        with connection.cursor() as cursor:
            cursor.executemany(query, values)


def undo_batches(rows: RowStore, collection: Collection, written: Iterable[str]) -> None:
    """Delete the rows and records that batches of a collection have written. `written`: their transactions (`xmin`).

    Requires a transaction that is recorded, and that nothing has changed these rows since.
    """
    connection, namespace = rows.connection, rows.namespace
    values = (list(written),)
    tables = [namespace.table(name) for name in reversed(collection.table_names)]
    changed = [(table, identity) for table in tables if (identity := _identify_rows(connection, table))]
    with owner_search_path(connection):
        for table in tables:
            query = sql.SQL("DELETE FROM {} WHERE xmin::pg_catalog.text OPERATOR(pg_catalog.=) ANY(%s)").format(table)
            connection.execute(query, values)
    for name in OF_BATCH:
        record = sql.Identifier(namespace.records, name)
        connection.execute(sql.SQL("DELETE FROM {} WHERE xmin::text = ANY(%s)").format(record), values)
    for table, identity in changed:
        connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(table, identity))


def _identify_rows(connection: Connection, table: sql.Identifier) -> sql.SQL | None:
    """Set a replica identity for a table without one, for example because its key is made later; return what it had.

    Without one, a publication FOR ALL TABLES does not permit to delete rows.
    """
    query = (
        "SELECT relreplident FROM pg_class c WHERE oid = %s::regclass AND (relreplident = 'n' OR relreplident = 'd'"
        " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))"
    )
    found = connection.execute(query, (table.as_string(connection),)).fetchone()
    if found is None:
        return None
    connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(table))
    return sql.SQL("NOTHING") if found[0] == "n" else sql.SQL("DEFAULT")
