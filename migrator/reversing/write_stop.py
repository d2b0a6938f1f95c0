"""Stops the writes of an application to the mapped tables, by triggers that raise an error.

Settings such as `default_transaction_read_only` do not bind open sessions. Creating a trigger waits for transactions
that have written, so that afterwards nothing comes any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.postgres import schema_changes
from migrator.reversing.capture import captured
from migrator.state.records import Connection, Namespace

TRIGGER = "migrate_stop"
_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $stop$
BEGIN
  RAISE EXCEPTION 'writes to % are stopped: the application is switched back to MongoDB', TG_TABLE_NAME
    USING ERRCODE = 'read_only_sql_transaction';
END $stop$
"""


def install(connection: Connection, namespace: Namespace, mappings: Iterable[Collection]) -> None:
    """Let the mapped tables refuse all writes, in one transaction. Can be repeated.

    Raises: `StoppedError` if another session holds a lock for too long; `TargetError` if a privilege is missing.
    """
    function = sql.Identifier(namespace.records, TRIGGER)
    with schema_changes.translate_errors(), connection.transaction():
        schema_changes.limit_lock_wait(connection)
        connection.execute(sql.SQL(_FUNCTION).format(function=function))
        for collection in captured(mappings):
            names = {
                "trigger": sql.Identifier(TRIGGER),
                "table": namespace.table(collection.table.name),
                "function": function,
            }
            for statement in (
                "DROP TRIGGER IF EXISTS {trigger} ON {table}",
                "CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
                "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}",
            ):
                connection.execute(sql.SQL(statement).format(**names))


def remove(connection: Connection, namespace: Namespace, mappings: Iterable[Collection]) -> None:
    """Let the mapped tables accept writes again. Can be repeated."""
    with schema_changes.translate_errors(), connection.transaction():
        schema_changes.limit_lock_wait(connection)
        for collection in captured(mappings):
            statement = sql.SQL("DROP TRIGGER IF EXISTS {} ON {}")
            table = namespace.table(collection.table.name)
            connection.execute(statement.format(sql.Identifier(TRIGGER), table))
        statement = sql.SQL("DROP FUNCTION IF EXISTS {}()")
        connection.execute(statement.format(sql.Identifier(namespace.records, TRIGGER)))
