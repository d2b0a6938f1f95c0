"""Copies encoded rows and records into PostgreSQL with binary COPY."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.postgres.copy import Connection, copy
from migrator.postgres.session import owner_search_path
from migrator.postgres.table_names import name_of
from migrator.state.records import Namespace
from migrator.state.row_keys import key_of, parent_of
from migrator.translation.encoder import Encoder, Output, member_tuples


def copy_rows(connection: Connection, namespace: Namespace, encoder: Encoder, tuples: list[bytes]) -> None:
    """Insert encoded rows into their table."""
    copy_tuples(connection, namespace.table(name_of(encoder.collection.table)), encoder.columns, tuples)


def copy_tuples(connection: Connection, table: sql.Identifier, columns: Sequence[str], tuples: list[bytes]) -> None:
    """Insert encoded rows into a table, by the search path of its owner."""
    with owner_search_path(connection):
        copy(connection, table, tuples, _column_list(columns))


def _column_list(columns: Sequence[str]) -> sql.Composed:
    """Name the columns: the table may have existed before, with another column order."""
    return sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))


def copy_children(
    connection: Connection,
    namespace: Namespace,
    encoder: Encoder,
    output: Output,
    start: int = 0,
    stop: int | None = None,
) -> None:
    """Insert the rows that belong to the rows `start` to `stop` of an output, parents first."""
    chosen = range(start, len(output.rows) if stop is None else stop)
    for table, child in encoder.children.items():
        tuples = [each for row, each in output.children.get(table, ()) if row in chosen]
        copy_tuples(connection, namespace.table(table), child.columns, tuples)


def delete_children(connection: Connection, namespace: Namespace, collection: Collection, ids: Sequence[str]) -> None:
    """Delete the rows that belong to the rows with these IDs (text), nested ones first."""
    for rule in collection.children:
        delete_elements(connection, namespace, rule, ids)


def delete_loaded_children(connection: Connection, namespace: Namespace, collection: Collection) -> None:
    """Delete the rows that belong to all loaded rows of a collection."""
    loaded = namespace.sql(
        "SELECT target_id FROM {ledger} WHERE collection OPERATOR(pg_catalog.=) %s"
        " AND outcome OPERATOR(pg_catalog.=) 'loaded'"
    )
    for rule in collection.children:
        _delete_children(connection, namespace, rule, loaded, collection.name)


def delete_elements(connection: Connection, namespace: Namespace, rule: Children, ids: Sequence[str]) -> None:
    """Delete the rows of the elements of one field, of the rows with these IDs."""
    _delete_children(connection, namespace, rule, sql.SQL("SELECT pg_catalog.unnest(%s::text[])"), list(ids))


def _delete_children(
    connection: Connection, namespace: Namespace, rule: Children, parents: sql.Composable, value: list[str] | str
) -> None:
    """Delete the rows whose parents `parents` selects, a query with one parameter."""
    table = namespace.table(name_of(rule.table))
    chosen = sql.SQL("WHERE {}").format(parent_of(rule).is_in(None, sql.SQL("ARRAY({})").format(parents)))
    for nested in rule.nested:
        assert rule.key is not None  # validated
        keys = sql.SQL("SELECT {key}::text FROM {table} {chosen}").format(
            key=sql.Identifier(rule.key), table=table, chosen=chosen
        )
        _delete_children(connection, namespace, nested, keys, value)
    with owner_search_path(connection):
        connection.execute(sql.SQL("DELETE FROM {} {}").format(table, chosen), (value,))


def replace_rows(
    connection: Connection,
    namespace: Namespace,
    encoder: Encoder,
    tuples: list[bytes],
    columns: Sequence[str] | None = None,
) -> None:
    """Overwrite `columns` (None: all) of the rows that have the same IDs as the encoded rows.

    Rows are updated, not deleted, so that no foreign key deletes the rows that refer to them.
    """
    table, key = namespace.table(name_of(encoder.collection.table)), key_of(encoder.collection)
    incoming = sql.Identifier("pg_temp", f"incoming_{name_of(encoder.collection.table)}")
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {}) ON COMMIT DROP").format(incoming, table))
    copy(connection, incoming, tuples, _column_list(encoder.columns))
    kept = encoder.collection.filled_later  # a value that a later stage has computed
    values = sql.SQL(", ").join(
        sql.SQL("{0} = coalesce(i.{0}, t.{0})" if name in kept else "{0} = i.{0}").format(sql.Identifier(name))
        for name in columns or encoder.columns
    )
    query = sql.SQL("UPDATE {} t SET {} FROM {} i WHERE {}").format(table, values, incoming, key.is_same("t", key, "i"))
    with owner_search_path(connection):
        connection.execute(query)
    connection.execute(sql.SQL("DROP TABLE {}").format(incoming))


def copy_records(connection: Connection, namespace: Namespace, collection: str, output: Output) -> None:
    """Insert the records of a batch: ledger, rejects, archive, findings, links and member lists."""
    copy(connection, namespace.sql("{ledger}"), output.ledger + output.outcomes)
    columns = sql.SQL(" (collection, source_id, reason, detail, document)")
    copy(connection, namespace.sql("{rejects}"), output.rejects, columns)
    copy(connection, namespace.sql("{archive}"), output.archive)
    copy(connection, namespace.sql("{findings}"), [finding for _, finding in output.findings])
    copy(connection, namespace.sql("{links}"), [link for _, link in output.links])
    copy(connection, namespace.sql("{member_lists}"), member_tuples(collection, output.members))
