"""Which migrated rows other clients have modified, as long as their `xmin` shows it."""

from __future__ import annotations

from psycopg import sql

from migrator.mapping.loader import MigrationDefinition
from migrator.postgres.table_names import name_of
from migrator.state import own_transactions
from migrator.state.records import Connection, Namespace
from migrator.state.row_keys import key_of


def remember_changes(connection: Connection, namespace: Namespace, definition: MigrationDefinition) -> None:
    """Record in `foreign_edits` which migrated rows other clients have modified.

    A run calls this before it resumes. Afterwards the run may write the same rows, and `xmin` no longer shows the edit.
    """
    for mapping in definition.mappings.values():
        query = namespace.sql(
            "INSERT INTO {foreign_edits} SELECT {name}, {key} FROM {table} t"
            " WHERE NOT {own}"
            " AND EXISTS (SELECT FROM {ledger} l WHERE l.collection = {collection} AND l.outcome = 'loaded'"
            " AND l.target_id = {key}) ON CONFLICT DO NOTHING",
            name=sql.Literal(name_of(mapping.table)),
            key=key_of(mapping).text("t"),
            table=namespace.table(name_of(mapping.table)),
            own=own_transactions.written_by_migration(namespace),
            collection=sql.Literal(mapping.name),
        )
        connection.execute(query)
