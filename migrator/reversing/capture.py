"""The triggers that record the changes of an application to mapped tables: installed at the switch, dropped at its end.

Each table has a function of its own, which names its key; a general one would have to convert the row first. The key
of a row of an element is that of the row that it belongs to. The
functions run with the rights of their owner, so that the application needs none on the records. Triggers fire ALWAYS,
also for sessions that suspend triggers. While they exist, migrate writes no rows of these tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, LiteralString

import sqlalchemy as sa
from psycopg import sql

from migrator.errors import StoppedError
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.postgres import schema_changes
from migrator.postgres.column_kinds import find_kind
from migrator.postgres.identifiers import identify
from migrator.postgres.table_names import catalog_query, name_of
from migrator.state.records import Connection, Namespace

ROWS, TRUNCATE = "migrate_capture", "migrate_capture_truncate"  # the names of the triggers
FLOATS: Final = frozenset({"real", "double precision"})
ALWAYS = "A"  # pg_trigger.tgenabled

_FUNCTION = """
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog{digits} AS $capture$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO {changes} (table_name, key, operation, old) VALUES ({name}, {new_key}, 'I', {new});
  ELSIF TG_OP = 'UPDATE' THEN
    IF {same} THEN
      INSERT INTO {changes} (table_name, key, operation, old) VALUES ({name}, {old_key}, 'U', {old});
    ELSE
      INSERT INTO {changes} (table_name, key, operation, old) VALUES ({name}, {old_key}, 'D', {old}),
        ({name}, {new_key}, 'I', {new});
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO {changes} (table_name, key, operation, old) VALUES ({name}, {old_key}, 'D', {old});
  ELSE
    INSERT INTO {changes} (table_name, key, operation, old)
      SELECT {name}, {key}, 'D', {all} FROM {table} t;
  END IF;
  RETURN NULL;
END $capture$
"""
_FIND = catalog_query("""
    SELECT TABLE_NAME(c), t.tgname, t.tgenabled::text
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
      JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace r ON r.oid = p.pronamespace
     WHERE r.nspname = %s AND t.tgname IN ('migrate_capture', 'migrate_capture_truncate')
""").encode()


def captured(mappings: Iterable[Collection]) -> list[Collection]:
    """Return the collections whose changed rows are recorded: those whose documents are in MongoDB."""
    return [each for each in mappings if each.section is None]


def tables_of(mappings: Iterable[Collection]) -> list[sa.Table]:
    """Return the tables of these collections, and of their elements."""
    return [table for each in captured(mappings) for table in (each.table, *(rule.table for rule in each.child_rules))]


def install(connection: Connection, namespace: Namespace, mappings: Iterable[Collection]) -> None:
    """Create the triggers of all mapped tables. Requires a transaction; changes of it and later ones are recorded.

    It waits until no other session writes to these tables. Triggers that exist are replaced.
    Raises: `TargetError` if a privilege is missing, `StoppedError` if another session holds a lock for too long.
    """
    with schema_changes.translate_errors():
        schema_changes.limit_lock_wait(connection)
        remove(connection, namespace)
        for collection in captured(mappings):
            for statement in _statements(namespace, name_of(collection.table), _row_parts(collection)):
                connection.execute(statement)
            for rule in collection.child_rules:
                for statement in _statements(namespace, name_of(rule.table), _element_parts(rule)):
                    connection.execute(statement)


def _row_parts(collection: Collection) -> dict[str, sql.Composable]:
    """Return what the function of a table of rows needs: their key, and whether it stays the same."""
    key = sql.Identifier(collection.key.column)
    parts = {"key": "t.{0}::text", "new_key": "NEW.{0}::text", "old_key": "OLD.{0}::text", "same": "OLD.{0} = NEW.{0}"}
    found: dict[str, sql.Composable] = {name: sql.SQL(part).format(key) for name, part in parts.items()}
    return {**found, "new": sql.NULL, **_images(collection.table)}


def _images(table: sa.Table) -> dict[str, sql.Composable]:
    """Return the expressions of a row as jsonb. Numbers of jsonb have no -0, so doubles are texts in it."""
    names = [column.name for column in table.columns if find_kind(column.type) in FLOATS]

    def image(row: LiteralString) -> sql.Composable:
        whole = sql.SQL("to_jsonb({})").format(sql.SQL(row))
        pairs = (
            sql.SQL("{}, {}.{}::text").format(sql.Literal(name), sql.SQL(row), sql.Identifier(name)) for name in names
        )
        return sql.SQL("{} || jsonb_build_object({})").format(whole, sql.SQL(", ").join(pairs)) if names else whole

    digits = sql.SQL(" SET extra_float_digits = 1" if names else "")
    return {"old": image("OLD"), "all": image("t"), "digits": digits}


def _element_parts(rule: Children) -> dict[str, sql.Composable]:
    """Return what the function of a table of elements needs. An element without a parent belongs to no document.

    A new element is recorded with its values, so that it can be distinguished from those that existed before.
    """
    parent = sql.Identifier(rule.parent_columns[0])
    key = "coalesce({}.{}::text, '')"
    identity = dict.fromkeys([rule.parent_columns[0], *(column.name for column in rule.table.primary_key)])
    old, new = (
        sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.SQL(side), sql.Identifier(name)) for name in identity)
        for side in ("OLD", "NEW")
    )
    return {
        "key": sql.SQL(key).format(sql.SQL("t"), parent),
        "new_key": sql.SQL(key).format(sql.SQL("NEW"), parent),
        "old_key": sql.SQL(key).format(sql.SQL("OLD"), parent),
        "same": sql.SQL("ROW({}) IS NOT DISTINCT FROM ROW({})").format(old, new),
        "new": sql.SQL("to_jsonb(NEW)"),
        **_images(rule.table),
    }


def _statements(namespace: Namespace, name: str, parts: dict[str, sql.Composable]) -> Iterator[sql.Composed]:
    names = {
        **parts,
        "function": sql.Identifier(namespace.records, _function_name(name)),
        "table": namespace.table(name),
        "name": sql.Literal(name),
        "rows": sql.Identifier(ROWS),
        "truncate": sql.Identifier(TRUNCATE),
    }
    yield namespace.sql(_FUNCTION, **names)
    yield sql.SQL("REVOKE ALL ON FUNCTION {function}() FROM PUBLIC").format(**names)
    yield sql.SQL(
        "CREATE TRIGGER {rows} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
    ).format(**names)
    yield sql.SQL(
        "CREATE TRIGGER {truncate} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
    ).format(**names)
    for trigger in (ROWS, TRUNCATE):
        yield sql.SQL("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}").format(
            table=names["table"], trigger=sql.Identifier(trigger)
        )


def _function_name(table: str) -> str:
    return f"capture_{table}"[:63]  # PostgreSQL cuts longer names


def remove(connection: Connection, namespace: Namespace) -> None:
    """Drop the triggers and their functions, if they exist."""
    for table, trigger, _ in connection.execute(_FIND, (namespace.records,)).fetchall():
        statement = sql.SQL("DROP TRIGGER {} ON {}")
        connection.execute(statement.format(sql.Identifier(trigger), identify(table)))
    query = (
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = %s AND starts_with(p.proname, 'capture_') AND p.prorettype = 'trigger'::regtype"
    )
    for (function,) in connection.execute(query, (namespace.records,)).fetchall():
        connection.execute(sql.SQL("DROP FUNCTION {}()").format(sql.Identifier(namespace.records, function)))


def require(connection: Connection, namespace: Namespace, mappings: Iterable[Collection]) -> None:
    """Check that changes of all mapped tables are recorded.

    Raises: `StoppedError` with the tables whose trigger is missing or disabled: their changes are lost.
    """
    found = {(table, trigger): state for table, trigger, state in connection.execute(_FIND, (namespace.records,))}
    bad = sorted(
        name
        for name in (name_of(table) for table in tables_of(mappings))
        if any(found.get((name, trigger)) != ALWAYS for trigger in (ROWS, TRUNCATE))
    )
    if bad:
        raise StoppedError(
            f"changes of {', '.join(bad)} are not recorded: a trigger {ROWS} or {TRUNCATE} is missing or disabled",
            hint="Changes made meanwhile do not reach MongoDB. Enable the trigger (ALTER TABLE … ENABLE ALWAYS TRIGGER"
            " …), and compare the tables with MongoDB.",
        )


def prove(connection: Connection, namespace: Namespace, mappings: Iterable[Collection]) -> None:
    """Create the triggers and roll back, to prove that the privileges suffice. Raises: as `install`."""
    with connection.transaction(force_rollback=True):
        install(connection, namespace, mappings)
