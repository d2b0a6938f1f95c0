"""Sends encoded tuples into PostgreSQL by binary COPY."""

from __future__ import annotations

from psycopg import sql

from migrator.postgres.copy import Connection, copy
from migrator.state.journal import Namespace
from migrator.translation.encoder import Encoder, Output, member_tuples


def copy_rows(connection: Connection, namespace: Namespace, encoder: Encoder, tuples: list[bytes]) -> None:
    """Rows into their table; the columns are named, because a table that was there before may have another order."""
    names = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, encoder.columns)))
    copy(connection, namespace.table(encoder.collection.table.name), tuples, names)


def replace_rows(connection: Connection, namespace: Namespace, encoder: Encoder, tuples: list[bytes]) -> None:
    """Rows in the place of those with the same ids. Nothing is deleted, so no key takes along who refers to them."""
    table, key = namespace.table(encoder.collection.table.name), sql.Identifier(encoder.collection.key.column)
    incoming = sql.Identifier("pg_temp", f"incoming_{encoder.collection.table.name}")
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {}) ON COMMIT DROP").format(incoming, table))
    names = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, encoder.columns)))
    copy(connection, incoming, tuples, names)
    values = sql.SQL(", ").join(sql.SQL("{0} = i.{0}").format(sql.Identifier(name)) for name in encoder.columns)
    query = sql.SQL("UPDATE {} t SET {} FROM {} i WHERE t.{key} = i.{key}").format(table, values, incoming, key=key)
    connection.execute(query)
    connection.execute(sql.SQL("DROP TABLE {}").format(incoming))


def copy_records(connection: Connection, namespace: Namespace, collection: str, output: Output) -> None:
    """The records of a batch, by binary COPY."""
    copy(connection, namespace.sql("{ledger}"), output.ledger + output.outcomes)
    columns = sql.SQL(" (collection, source_id, reason, detail, document)")
    copy(connection, namespace.sql("{rejects}"), output.rejects, columns)
    copy(connection, namespace.sql("{archive}"), output.archive)
    copy(connection, namespace.sql("{findings}"), [finding for _, finding in output.findings])
    copy(connection, namespace.sql("{links}"), [link for _, link in output.links])
    copy(connection, namespace.sql("{member_lists}"), member_tuples(collection, output.members))
