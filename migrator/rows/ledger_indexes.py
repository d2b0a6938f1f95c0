"""The indexes of the ledger: by row and by `_id`.

They are created when they are first needed, because every load that follows has to maintain them.
"""

from __future__ import annotations

from psycopg import sql

from migrator.state.records import Connection, Namespace

MAX_BTREE_ID = 2000  # bytes of an `_id` that fits into every B-tree, whose entries have at most 2,704 bytes


def ensure_ledger_indexes(connection: Connection, namespace: Namespace) -> None:
    """Create both indexes if they are missing."""
    create_target_index(connection, namespace)
    _create_source_index(connection, namespace, "hash")  # an `_id` that is still to be loaded may have any length


def create_target_index(connection: Connection, namespace: Namespace) -> None:
    """Create the index by row if it is missing."""
    # The selective column comes first: with the collection name before it, sorting takes twice as long.
    connection.execute(
        namespace.sql("CREATE INDEX IF NOT EXISTS ledger_target_idx ON {ledger} (target_id, collection)")
    )


def create_source_index(connection: Connection, namespace: Namespace) -> None:
    """Create the index by `_id` if it is missing, after all documents are in the ledger.

    A B-tree takes half the time of a hash index, but cannot store every `_id`.
    """
    found = connection.execute("SELECT to_regclass(%s)", (f"{namespace.records}.ledger_source_idx",)).fetchone()
    if found and found[0] is not None:
        return  # reading every `_id` takes as long as building a small index
    longest = connection.execute(namespace.sql("SELECT max(octet_length(source_id)) FROM {ledger}")).fetchone()
    _create_source_index(connection, namespace, "btree" if longest and (longest[0] or 0) <= MAX_BTREE_ID else "hash")


def _create_source_index(connection: Connection, namespace: Namespace, method: str) -> None:
    query = "CREATE INDEX IF NOT EXISTS ledger_source_idx ON {ledger} USING {method} (source_id)"
    connection.execute(namespace.sql(query, method=sql.Identifier(method)))
