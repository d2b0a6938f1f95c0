"""The table `migrator.schema_changes`: every change to the schema of the target, with the statement that undoes it.

Each function makes one change and its record in the transaction of the caller. The stages `prepare` and `constrain`
decide what to change. Not here: undoing the changes (`schema_undo.py`).
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

from migrator.errors import StoppedError, TargetError
from migrator.postgres.identifiers import identify
from migrator.postgres.privileges import CONNECT_AS_OWNER
from migrator.postgres.search_path import extension_path
from migrator.postgres.statements import Kind, Ref, Statement

Connection = psycopg.Connection[Any]
Action = Literal["created", "deferred"]

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


def index_build(statement: Statement) -> str:
    """Return the script that builds the index of a key and records it, until `attachment` records the key."""
    values = (*_index_of(statement.ref), "created", statement.index_sql, statement.drop_index_sql)
    return f"{statement.index_sql}; {_compose(_INSERT + 'ON CONFLICT DO NOTHING', *values)}"


def attachment(statement: Statement) -> str:
    """Return the script that makes an index that was built that of its key, and records the key, as taking the time of
    the build."""
    index = _index_of(statement.ref)
    took = _compose(_TAKE_TIMES, *statement.ref, *index)
    return f"{statement.attach_sql}; {_record_creation(statement)}; {took}; {deletion(index)}"


def unique_indexes(connection: Connection) -> set[tuple[str, str]]:
    """Return the unique indexes that the migration has created: (table, name)."""
    found = read(connection)
    return {(each.table_name, each.name) for each in found if each.kind == "unique_index" and each.action == "created"}


def _index_of(key: Ref) -> Ref:
    return Ref("unique_index", key.table, key.name)


_TAKE_TIMES: LiteralString = (
    "UPDATE migrator.schema_changes k SET (began, finished, worker) = (i.began, i.finished, i.worker)"
    " FROM migrator.schema_changes i WHERE (k.kind, k.table_name, k.name) = ({}, {}, {})"
    " AND (i.kind, i.table_name, i.name) = ({}, {}, {})"
)


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
