"""Stops the writes of an application to the mapped tables, by triggers that raise an error.

Settings such as `default_transaction_read_only` do not bind open sessions. Creating a trigger waits for transactions
that have written, so that afterwards nothing comes any more. Rows of other tenants can still be written: the triggers
of a table whose rows belong to tenants get the name of the column, and test each row.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.postgres import schema_changes
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenant_column
from migrator.reversing.capture import tables_of
from migrator.state.records import Connection, Namespace

TRIGGER, TRUNCATE = "migrate_stop", "migrate_stop_truncate"
_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $stop$
BEGIN
  IF TG_LEVEL = 'ROW' THEN
    IF TG_OP = 'DELETE' AND to_jsonb(OLD) ->> TG_ARGV[0] IS DISTINCT FROM {tenant} THEN
      RETURN OLD;
    ELSIF TG_OP = 'INSERT' AND to_jsonb(NEW) ->> TG_ARGV[0] IS DISTINCT FROM {tenant} THEN
      RETURN NEW;
    ELSIF TG_OP = 'UPDATE' AND to_jsonb(OLD) ->> TG_ARGV[0] IS DISTINCT FROM {tenant}
        AND to_jsonb(NEW) ->> TG_ARGV[0] IS DISTINCT FROM {tenant} THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION 'writes to % are stopped: the application is switched back to MongoDB', TG_TABLE_NAME
    USING ERRCODE = 'read_only_sql_transaction';
END $stop$
"""


def install(connection: Connection, namespace: Namespace, mappings: Iterable[Collection], tenant: UUID) -> None:
    """Let the mapped tables refuse all writes to rows of the tenant, in one transaction. Can be repeated.

    Raises: `StoppedError` if another session holds a lock for too long; `TargetError` if a privilege is missing.
    """
    function = sql.Identifier(namespace.records, TRIGGER)
    with schema_changes.translate_errors(), connection.transaction():
        schema_changes.limit_lock_wait(connection)
        connection.execute(sql.SQL(_FUNCTION).format(function=function, tenant=sql.Literal(str(tenant))))
        for mapped in tables_of(mappings):
            column = tenant_column(mapped)
            names = {
                "trigger": sql.Identifier(TRIGGER),
                "truncate": sql.Identifier(TRUNCATE),
                "table": namespace.table(name_of(mapped)),
                "function": function,
                "each": sql.SQL("STATEMENT" if column is None else "ROW"),
                "argument": sql.Literal(column or ""),
            }
            for statement in (
                "DROP TRIGGER IF EXISTS {trigger} ON {table}",
                "DROP TRIGGER IF EXISTS {truncate} ON {table}",
                "CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH {each} EXECUTE FUNCTION {function}({argument})",
                "CREATE TRIGGER {truncate} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
                "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}, ENABLE ALWAYS TRIGGER {truncate}",
            ):
                connection.execute(sql.SQL(statement).format(**names))


def remove(connection: Connection, namespace: Namespace, mappings: Iterable[Collection]) -> None:
    """Let the mapped tables accept writes again. Can be repeated."""
    with schema_changes.translate_errors(), connection.transaction():
        schema_changes.limit_lock_wait(connection)
        for mapped in tables_of(mappings):
            statement = sql.SQL("DROP TRIGGER IF EXISTS {} ON {}")
            table = namespace.table(name_of(mapped))
            for trigger in (TRIGGER, TRUNCATE):
                connection.execute(statement.format(sql.Identifier(trigger), table))
        statement = sql.SQL("DROP FUNCTION IF EXISTS {}()")
        connection.execute(statement.format(sql.Identifier(namespace.records, TRIGGER)))
