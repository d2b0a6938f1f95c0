"""The table `migrator.schema_changes`: every change to the schema of the target, with the statement that undoes it.

Each function makes one change and its record in the transaction of the caller. The stages `prepare` and `constrain`
decide what to change; `drop_created` undoes all of it for `revert`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from tenacity import RetryCallState, retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from migrator.errors import RevertRefusedError, StoppedError, TargetError
from migrator.postgres.ddl import Kind, Ref, Statement
from migrator.postgres.identifiers import identify
from migrator.postgres.privileges import CONNECT_AS_OWNER
from migrator.postgres.search_path import extension_path
from migrator.redaction import hide_values

Connection = psycopg.Connection[Any]
Action = Literal["created", "deferred"]

RECREATE_ATTEMPTS = 20  # for an index that still contains deleted rows
RECREATE_SECONDS = 0.5
LOCK_WAIT: LiteralString = "SET LOCAL lock_timeout = '10s'"
TABLE = files("migrator.sql").joinpath("schema_changes.sql").read_text()
MADE_DEFERRABLE = " (deferrable)"  # follows the name of a foreign key in the record of such a change


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One change. `definition` creates exactly the object that was created or deferred.

    `undo` undoes what remains of the change: it drops a created object, and recreates a deferred one.
    """

    kind: Kind
    table_name: str
    name: str
    action: Action
    definition: str
    undo: str

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.table_name, self.name)

    @property
    def checked(self) -> bool:
        """Whether `definition` contains the validation of a foreign key."""
        return self.definition.endswith(validation(self.table_name, self.name))


@contextmanager
def translate_errors() -> Iterator[None]:
    """Convert errors that can prevent any schema change to errors with a remedy."""
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise StoppedError(
            f"another session holds a lock on tables of the target: {error.diag.message_primary}",
            hint="Wait until it has finished (pg_stat_activity shows it), then run the same command again.",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise TargetError(
            f"the target role may not change the schema: {error.diag.message_primary}",
            hint=CONNECT_AS_OWNER,
        ) from error
    except psycopg.errors.InsufficientResources as error:
        raise TargetError(
            f"the target server lacks disk space or memory: {error.diag.message_primary}",
            hint="Add disk space or memory (in a container also --shm-size), then run the same command again.",
        ) from error


def limit_lock_wait(connection: Connection) -> None:
    """Limit the wait for locks in the current transaction: queries of the application queue behind a waiting lock."""
    connection.execute(LOCK_WAIT)


def ensure(connection: Connection) -> None:
    """Create schema `migrator` and the table if they are missing. Record the schema if it was created here."""
    created = connection.execute("SELECT to_regnamespace('migrator') IS NULL").fetchone() == (True,)
    connection.execute("CREATE SCHEMA IF NOT EXISTS migrator")
    connection.execute(TABLE)
    if created:
        insert(connection, Ref("schema", "", "migrator"), "created", "CREATE SCHEMA migrator", "DROP SCHEMA migrator")


def read(connection: Connection) -> list[Record]:
    """Return all records, oldest first; an empty list if the table is missing."""
    if connection.execute("SELECT to_regclass('migrator.schema_changes') IS NULL").fetchone() == (True,):
        return []
    with connection.cursor(row_factory=class_row(Record)) as cursor:
        query = "SELECT kind, table_name, name, action, definition, undo FROM migrator.schema_changes ORDER BY position"
        return cursor.execute(query).fetchall()


def created_tables(connection: Connection) -> set[str]:
    """Return the names of the tables that the migration has created."""
    return {each.name for each in read(connection) if each.kind == "table" and each.action == "created"}


def deferrable_keys(connection: Connection) -> set[tuple[str, str]]:
    """Return the foreign keys that `follow` has made deferrable until it ends: (table, name)."""
    return {
        (record.table_name, record.name.removesuffix(MADE_DEFERRABLE))
        for record in read(connection)
        if record.action == "deferred" and record.name.endswith(MADE_DEFERRABLE)
    }


def has_deferred(connection: Connection) -> bool:
    """Return whether an object of the owner is still to be recreated."""
    return any(record.action == "deferred" for record in read(connection))


def execute(connection: Connection, script: str) -> None:
    """Execute a change and its record in a transaction and a round trip of their own: a run makes a hundred changes."""
    try:
        connection.execute(f"{LOCK_WAIT}; {script}".encode())
    except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedFunction):  # a name of an extension
        with connection.transaction(), extension_path(connection):
            connection.execute(f"{LOCK_WAIT}; {script}".encode())


def creation(statement: Statement, suffix: str = "") -> str:
    """Return the script that executes `statement` (with `suffix`, such as NOT VALID) and records it."""
    return f"{statement.sql}{suffix}; {_record_creation(statement)}"


def _record_creation(statement: Statement) -> str:
    """Return the statement that records a creation, in place of an outdated record."""
    values = (*statement.ref, "created", statement.sql, statement.undo_sql)
    return _compose(_INSERT + _REPLACE, *values)


def _compose(query: LiteralString, *values: str | None) -> str:
    """Put values as literals into the places {} of a statement."""
    return sql.SQL(query).format(*map(sql.Literal, values)).as_string()


def defer(connection: Connection, ref: Ref, *, definition: str, drop: str) -> None:
    """Drop an object and record it for `restore`. An object that the migration created is dropped without a record."""
    connection.execute(drop)
    query = "SELECT action FROM migrator.schema_changes WHERE (kind, table_name, name) = (%s, %s, %s)"
    match connection.execute(query, ref).fetchone():
        case None:
            insert(connection, ref, "deferred", definition, definition)
        case ("created",):
            delete(connection, ref)
        case _:
            # A run was interrupted after it recreated the object. Only the first record has the original definition.
            update_undo(connection, ref, None)


def restoration(record: Record) -> str:
    """Return the script that recreates a deferred object. A foreign key that was valid stays NOT VALID at first."""
    rest = validation(record.table_name, record.name)
    ended = _compose(_UPDATE_UNDO, rest, *record.ref) if record.checked else deletion(record.ref)
    return f"{record.definition.removesuffix(rest)}; {ended}"


def deletion(ref: Ref) -> str:
    """Return the statement that deletes the record of an object."""
    return _compose("DELETE FROM migrator.schema_changes WHERE (kind, table_name, name) = ({}, {}, {})", *ref)


def validated(ref: Ref) -> str:
    """Return the script that validates a foreign key. This completes the restoration of a deferred foreign key."""
    took = "UPDATE migrator.schema_changes SET validation_began = now(), validated = clock_timestamp()"
    return "; ".join(
        [
            validation(ref.table, ref.name),
            f"{deletion(ref)} AND action = 'deferred'",
            _compose(f"{took} WHERE (kind, table_name, name) = ({{}}, {{}}, {{}})", *ref),
        ]
    )


def validation(table: str, name: str) -> str:
    statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
    return statement.format(identify(table), sql.Identifier(name)).as_string()


_UPDATE_UNDO: LiteralString = (
    "UPDATE migrator.schema_changes SET undo = coalesce({}, definition) WHERE (kind, table_name, name) = ({}, {}, {})"
)


def update_undo(connection: Connection, ref: Ref, undo: str | None) -> None:
    """Record the statement that remains to be done for a restored object; None: its whole definition."""
    connection.execute(_compose(_UPDATE_UNDO, undo, *ref).encode())


_INSERT: LiteralString = """
    INSERT INTO migrator.schema_changes (kind, table_name, name, action, definition, undo)
    VALUES ({}, {}, {}, {}, {}, {})
"""
_REPLACE: LiteralString = """
    ON CONFLICT (kind, table_name, name) DO UPDATE
       SET (position, action, definition, undo, began, finished, worker, validation_began, validated) =
           (DEFAULT, excluded.action, excluded.definition, excluded.undo, DEFAULT, DEFAULT, DEFAULT, NULL, NULL)
"""


def insert(connection: Connection, ref: Ref, action: Action, definition: str, undo: str) -> None:
    connection.execute(_compose(_INSERT, *ref, action, definition, undo).encode())


def delete(connection: Connection, *refs: Ref) -> None:
    """Delete the records of objects."""
    query = (
        "DELETE FROM migrator.schema_changes WHERE (kind, table_name, name) IN"
        " (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]))"
    )
    if refs:
        connection.execute(query, [list(column) for column in zip(*refs, strict=True)])


def drop_created(connection: Connection, *, drop_rows: bool = False) -> None:
    """Undo all changes, the latest first. Afterwards the schema is as it was before the first `prepare`.

    A table that the migration created is dropped only if it is empty; with `drop_rows`, the caller has checked its
    rows. The caller rolls the transaction back after an error.

    Raises:
        RevertRefusedError: another object depends on an object to drop, or rows violate an object to recreate.
    """
    check_deferred_constraints(connection)
    undone = []
    for record in reversed(read(connection)):
        if record.kind == "schema":
            continue
        with translate_errors():
            if record.kind == "table" and not drop_rows:
                refuse_rows(connection, record)
            if record.action == "deferred":
                if not try_recreate(connection, record):
                    continue  # its record stays, see `recreate_deferred`
            else:
                execute_undo(connection, record)
        undone.append(record.ref)
    delete(connection, *undone)


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
    for record in reversed(read(connection)):
        if record.action == "deferred":
            _recreate_after_commit(connection, record)


@retry(
    retry=retry_if_exception_type(_REFUSED_ROWS),
    stop=stop_after_attempt(RECREATE_ATTEMPTS),
    wait=wait_fixed(RECREATE_SECONDS),
    retry_error_callback=lambda state: _refuse_old_transaction(state),
)
def _recreate_after_commit(connection: Connection, record: Record) -> None:
    with translate_errors(), connection.transaction():
        limit_lock_wait(connection)
        execute_undo(connection, record)
        delete(connection, record.ref)


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
    records = read(connection)
    created = {record.name for record in records if record.kind == "table" and record.action == "created"}
    undone = []
    for record in reversed(records):
        own_table = record.table_name in created or (record.kind == "table" and record.name in created)
        if record.action == "created" and (own_table or record.kind == "foreign_key"):
            if record.kind in ("table", "foreign_key"):  # the other objects go with their table
                with translate_errors():
                    execute_undo(connection, record)
            undone.append(record.ref)
    delete(connection, *undone)


def drop_records(connection: Connection) -> None:
    """Drop `migrator.schema_changes`, and schema `migrator` if the migration created it.

    Call it last: the schema must be empty.
    """
    records = read(connection)
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
