"""The table `migrator.schema_changes`: every change to the target's schema, with the statement that undoes it.

Each function does one change and its record together; the caller opens the transaction. What to change, and when, is
the stages' business (`prepare`, `constrain`); `drop_created` takes back whatever they did, for `revert`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from migrator.errors import RevertRefusedError, StoppedError, TargetError
from migrator.postgres.ddl import Kind, Ref, Statement
from migrator.postgres.privileges import suggest_grant
from migrator.redaction import hide_values

Connection = psycopg.Connection[Any]
Action = Literal["created", "deferred"]

TABLE = files("migrator.sql").joinpath("schema_changes.sql").read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One change. `definition` makes the object as it is or was, exactly.

    `undo` takes the change back, or what is left of it: it drops what was created, makes again what was put aside.
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
        """Whether `definition` ends with the validation of a foreign key."""
        return self.definition.endswith(validation(self.table_name, self.name))


@contextmanager
def translate_errors() -> Iterator[None]:
    """What keeps any change to a schema from happening, as errors with a remedy."""
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise StoppedError(
            f"another session holds a lock on the target's tables: {error.diag.message_primary}",
            hint="Wait until it has finished (pg_stat_activity shows it), then run the same command again.",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise TargetError(
            f"the target's role may not change its schema: {error.diag.message_primary}",
            hint=suggest_grant(error),
        ) from error
    except psycopg.errors.InsufficientResources as error:
        raise TargetError(
            f"the target server lacks room: {error.diag.message_primary}",
            hint="Give it disk or memory (in a container also --shm-size), then run the same command again.",
        ) from error


def limit_lock_wait(connection: Connection) -> None:
    """Until the transaction ends, waits for no lock for long: while we wait, an application queues up behind us."""
    connection.execute("SET LOCAL lock_timeout = '10s'")


def ensure(connection: Connection) -> None:
    """Makes schema `migrator` and the table where they are missing, and records the schema if it is ours."""
    ours = connection.execute("SELECT to_regnamespace('migrator') IS NULL").fetchone() == (True,)
    connection.execute("CREATE SCHEMA IF NOT EXISTS migrator")
    connection.execute(TABLE)
    if ours:
        made, undo = "CREATE SCHEMA migrator", "DROP SCHEMA migrator"
        insert(connection, Ref("schema", "", "migrator"), "created", made, undo)


def read(connection: Connection) -> list[Record]:
    """All records, oldest first; none where the table is missing."""
    if connection.execute("SELECT to_regclass('migrator.schema_changes') IS NULL").fetchone() == (True,):
        return []
    with connection.cursor(row_factory=class_row(Record)) as cursor:
        query = "SELECT kind, table_name, name, action, definition, undo FROM migrator.schema_changes ORDER BY position"
        return cursor.execute(query).fetchall()


def create(connection: Connection, statement: Statement, *, suffix: str = "") -> None:
    """Executes `statement` (with `suffix`, such as NOT VALID) and records it, anew if a record outlived its object."""
    connection.execute(statement.sql + suffix)
    delete(connection, statement.ref)
    insert(connection, statement.ref, "created", statement.sql, statement.undo_sql)


def defer(connection: Connection, ref: Ref, *, definition: str, drop: str) -> None:
    """Drops an object until `restore`. What the migration made itself is not put aside, it is just missing again."""
    connection.execute(drop)
    query = "SELECT action FROM migrator.schema_changes WHERE (kind, table_name, name) = (%s, %s, %s)"
    match connection.execute(query, ref).fetchone():
        case None:
            insert(connection, ref, "deferred", definition, definition)
        case ("created",):
            delete(connection, ref)
        case _:
            # It was on its way back when a run stopped: the first record knows it as it was, the catalog does not.
            update_undo(connection, ref, None)


def restore(connection: Connection, record: Record) -> None:
    """Makes an object again that was put aside. A foreign key that was valid comes back unvalidated: see `validate`."""
    rest = validation(record.table_name, record.name)
    connection.execute(record.definition.removesuffix(rest))
    if record.checked:
        update_undo(connection, record.ref, rest)
    else:
        delete(connection, record.ref)


def validate(connection: Connection, ref: Ref) -> None:
    """Checks the rows against a foreign key; with that, one that had been put aside is back as it was."""
    connection.execute(validation(ref.table, ref.name))
    query = "DELETE FROM migrator.schema_changes WHERE (kind, table_name, name) = (%s, %s, %s) AND action = 'deferred'"
    connection.execute(query, ref)
    took = "UPDATE migrator.schema_changes SET validation_began = now(), validated = clock_timestamp()"
    connection.execute(f"{took} WHERE (kind, table_name, name) = (%s, %s, %s)", ref)


def validation(table: str, name: str) -> str:
    statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
    return statement.format(sql.Identifier("public", table), sql.Identifier(name)).as_string()


def update_undo(connection: Connection, ref: Ref, undo: str | None) -> None:
    """What is left to do for a restored object; None: all of it."""
    query = (
        "UPDATE migrator.schema_changes SET undo = coalesce(%s, definition)"
        " WHERE (kind, table_name, name) = (%s, %s, %s)"
    )
    connection.execute(query, (undo, *ref))


def insert(connection: Connection, ref: Ref, action: Action, definition: str, undo: str) -> None:
    query = (
        "INSERT INTO migrator.schema_changes (kind, table_name, name, action, definition, undo)"
        " VALUES (%s, %s, %s, %s, %s, %s)"
    )
    connection.execute(query, (*ref, action, definition, undo))


def delete(connection: Connection, ref: Ref) -> None:
    connection.execute("DELETE FROM migrator.schema_changes WHERE (kind, table_name, name) = (%s, %s, %s)", ref)


def drop_created(connection: Connection, *, drop_rows: bool = False) -> None:
    """Takes all changes back, the latest first: afterwards the schema is as it was before the first `prepare`.

    The caller's transaction makes it all or nothing. A table that the migration created goes only if it is empty,
    unless `drop_rows` says that the caller has made sure of what it holds. Errors: `RevertRefusedError`, if something
    of others depends on what must go, or no longer fits what must come back.
    """
    check_deferred_constraints(connection)
    for record in reversed(read(connection)):
        if record.kind == "schema":
            continue
        with translate_errors():
            if record.kind == "table" and not drop_rows:
                refuse_rows(connection, record)
            execute_undo(connection, record)
        delete(connection, record.ref)


def drop_tables(connection: Connection) -> None:
    """Takes back the tables that were made, with all that was made on them, and the foreign keys: whatever rows are in
    these tables need not be deleted one by one, and who deletes others is not held up by our keys."""
    records = read(connection)
    made = {record.name for record in records if record.kind == "table" and record.action == "created"}
    for record in reversed(records):
        ours = record.table_name in made or (record.kind == "table" and record.name in made)
        if record.action == "created" and (ours or record.kind == "foreign_key"):
            with translate_errors():
                execute_undo(connection, record)
            delete(connection, record.ref)


def drop_records(connection: Connection) -> None:
    """Drop `migrator.schema_changes`, and schema `migrator` if the migration created it.

    Call it last: nothing else may be in the schema by then."""
    records = read(connection)
    left = [record.name for record in records if record.kind != "schema"]
    if left:
        raise RevertRefusedError(f"not taken back yet: {', '.join(left)}", hint="Call drop_created first.")
    connection.execute("DROP TABLE IF EXISTS migrator.schema_changes")
    for record in records:
        execute_undo(connection, record)


def check_deferred_constraints(connection: Connection) -> None:
    """A deferred foreign key of the owner's has yet to look at the rows that the caller deleted in this transaction.

    Until then PostgreSQL lets nobody alter the table ("pending trigger events").
    """
    try:
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.IntegrityError as error:
        raise RevertRefusedError(
            f"rows of others refer to what the migration brought: {hide_values(error.diag.message_detail)}",
            hint="Let them refer to something else, or delete them, then run the same command again.",
        ) from error


def refuse_rows(connection: Connection, record: Record) -> None:
    """Locks the table first, so that no row comes in between this look and the drop."""
    table = sql.Identifier("public", record.name)
    gone = "SELECT to_regclass(%s) IS NULL"
    if connection.execute(gone, (table.as_string(connection),)).fetchone() == (True,):
        return
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
    if connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(table)).fetchone() is not None:
        raise RevertRefusedError(
            f"table {record.name} was created by the migration, but holds rows that it did not bring",
            hint="Move them elsewhere first, or revert with --force.",
        )


def execute_undo(connection: Connection, record: Record) -> None:
    what = f"{record.kind} {record.name}" + (f" of {record.table_name}" if record.table_name else "")
    try:
        connection.execute(record.undo)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise RevertRefusedError(
            f"{what} cannot go, because others depend on it: {error.diag.message_detail}",
            hint="Drop what depends on it, or let it depend on something else, then run the same command again.",
        ) from error
    except (psycopg.IntegrityError, psycopg.errors.UndefinedObject, psycopg.errors.UndefinedTable) as error:
        raise RevertRefusedError(
            f"{what} was put aside and cannot be made again: {error.diag.message_primary}"
            f" {hide_values(error.diag.message_detail)}".rstrip(),
            hint=f"Put right what it says, then run the same command again. The object: {record.definition}",
        ) from error
