"""Undoes the recorded changes to the schema of the target, for `revert`: drops what was created, recreates the rest.

Every function works in the transaction of the caller, but `recreate_deferred`.
"""

from __future__ import annotations

import psycopg
from psycopg import sql
from tenacity import RetryCallState, retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from migrator.errors import RevertRefusedError, StoppedError
from migrator.postgres import schema_changes
from migrator.postgres.identifiers import identify
from migrator.postgres.schema_changes import Connection, Record
from migrator.redaction import hide_values

RECREATE_ATTEMPTS = 20  # for an index that still contains deleted rows
RECREATE_SECONDS = 0.5


def drop_created(connection: Connection, *, drop_rows: bool = False) -> None:
    """Undo all changes, the latest first. Afterwards the schema is as it was before the first `prepare`.

    A table that the migration created is dropped only if it is empty; with `drop_rows`, the caller has checked its
    rows. The caller rolls the transaction back after an error.

    Raises:
        RevertRefusedError: another object depends on an object to drop, or rows violate an object to recreate.
    """
    check_deferred_constraints(connection)
    undone = []
    for record in reversed(schema_changes.read(connection)):
        if record.kind == "schema":
            continue
        with schema_changes.translate_errors():
            if record.kind == "table" and not drop_rows:
                refuse_rows(connection, record)
            if record.action == "deferred":
                if not try_recreate(connection, record):
                    continue  # its record stays, see `recreate_deferred`
            else:
                execute_undo(connection, record)
        undone.append(record.ref)
    schema_changes.delete(connection, *undone)


# What an index may refuse in a row: its size, or the value of an expression.
_REFUSED_ROWS = (psycopg.errors.ProgramLimitExceeded, psycopg.DataError, psycopg.errors.RaiseException)


def try_recreate(connection: Connection, record: Record) -> bool:
    """Recreate a deferred object and return whether it worked; if not, nothing has changed.

    PostgreSQL puts rows into a new index that the same transaction has deleted, so an index that could not hold
    migrated rows fails until their deletion is committed.
    """
    try:
        with connection.transaction():
            execute_undo(connection, record)
    except _REFUSED_ROWS:
        return False
    return True


def recreate_deferred(connection: Connection) -> None:
    """Recreate the objects that `drop_created` left, each in a transaction of its own.

    Raises:
        StoppedError: an older transaction of another session still sees the deleted rows.
    """
    for record in reversed(schema_changes.read(connection)):
        if record.action == "deferred":
            _recreate_after_commit(connection, record)


@retry(
    retry=retry_if_exception_type(_REFUSED_ROWS),
    stop=stop_after_attempt(RECREATE_ATTEMPTS),
    wait=wait_fixed(RECREATE_SECONDS),
    retry_error_callback=lambda state: _refuse_old_transaction(state),
)
def _recreate_after_commit(connection: Connection, record: Record) -> None:
    with schema_changes.translate_errors(), connection.transaction():
        schema_changes.limit_lock_wait(connection)
        execute_undo(connection, record)
        schema_changes.delete(connection, record.ref)


def _refuse_old_transaction(state: RetryCallState) -> None:
    record: Record = state.args[1]
    error = state.outcome.exception() if state.outcome else None
    raise StoppedError(
        f"cannot recreate the {record.kind} {record.name} of {record.table_name} yet, because another session still"
        " sees the deleted rows",
        hint="End its transaction (pg_stat_activity, column backend_xmin), then run `migrate revert` again. All rows of"
        " the migration are deleted.",
    ) from error


def drop_tables(connection: Connection) -> None:
    """Drop the tables that the migration created, with all objects on them, and the foreign keys that it created.

    Then rows of these tables need not be deleted one by one, and the foreign keys do not slow down other deletions.
    """
    records = schema_changes.read(connection)
    created = {record.name for record in records if record.kind == "table" and record.action == "created"}
    undone = []
    for record in reversed(records):
        own_table = record.table_name in created or (record.kind == "table" and record.name in created)
        if record.action == "created" and (own_table or record.kind == "foreign_key"):
            if record.kind in ("table", "foreign_key"):  # the other objects go with their table
                with schema_changes.translate_errors():
                    execute_undo(connection, record)
            undone.append(record.ref)
    schema_changes.delete(connection, *undone)


def drop_records(connection: Connection) -> None:
    """Drop `migrator.schema_changes`, and schema `migrator` if the migration created it.

    Call it last: the schema must be empty.
    """
    records = schema_changes.read(connection)
    left = [record.name for record in records if record.kind != "schema"]
    if left:
        raise RevertRefusedError(f"schema changes not undone yet: {', '.join(left)}", hint="Call drop_created first.")
    connection.execute("DROP TABLE IF EXISTS migrator.schema_changes")
    for record in records:
        execute_undo(connection, record)


def check_deferred_constraints(connection: Connection) -> None:
    """Check the DEFERRABLE constraints now, for the rows that the caller deleted in this transaction.

    Otherwise PostgreSQL refuses to alter the table ("pending trigger events").
    """
    try:
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.IntegrityError as error:
        raise RevertRefusedError(
            f"other rows refer to migrated rows: {hide_values(error.diag.message_detail)}",
            hint="Change or delete the references, then run the same command again.",
        ) from error


def refuse_rows(connection: Connection, record: Record) -> None:
    """Check that a table is empty; lock it first, so that no row is inserted before the drop."""
    table = identify(record.name)
    missing = "SELECT to_regclass(%s) IS NULL"
    if connection.execute(missing, (table.as_string(connection),)).fetchone() == (True,):
        return
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
    if connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(table)).fetchone() is not None:
        raise RevertRefusedError(
            f"table {record.name} was created by the migration, but contains other rows",
            hint="Move these rows to another table first, or use --force.",
        )


def execute_undo(connection: Connection, record: Record) -> None:
    """Undo a change. Raises `RevertRefusedError` if another object or a row prevents it."""
    what = f"{record.kind} {record.name}" + (f" of {record.table_name}" if record.table_name else "")
    try:
        connection.execute(record.undo)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise RevertRefusedError(
            f"cannot drop {what}, other objects depend on it: {error.diag.message_detail}",
            hint="Drop or change the dependent objects, then run the same command again.",
        ) from error
    except (psycopg.IntegrityError, psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable) as error:
        raise RevertRefusedError(
            f"cannot recreate the deferred {what}: {error.diag.message_primary}"
            f" {hide_values(error.diag.message_detail)}".rstrip(),
            hint=f"Fix the cause, then run the same command again. Definition: {record.definition}",
        ) from error
