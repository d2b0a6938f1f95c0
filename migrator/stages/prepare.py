"""Prepares the target for the load: refuses an incompatible schema, creates missing tables, drops what slows the load.

Everything happens in one transaction, so a target is either prepared or unchanged. The stage post-data creates foreign
keys, plain indexes, late keys and row-level security after the load, and recreates what is dropped here.
`schema_changes` records every change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from sqlalchemy import MetaData

from migrator.errors import PlanError
from migrator.events import Emit, Notice, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.postgres import catalog, ddl, schema_changes
from migrator.postgres.catalog import Catalog
from migrator.postgres.catalog_diff import CatalogDifference, compare
from migrator.postgres.identifiers import identify
from migrator.postgres.late_keys import without_built
from migrator.postgres.placement import schemas_in
from migrator.postgres.privileges import quote, quote_table, refuse_hidden_rows
from migrator.postgres.search_path import create_objects, search_path
from migrator.postgres.statements import Kind, Ref
from migrator.redaction import hide_values

Connection = psycopg.Connection[Any]

DROPPABLE_OBJECTS = catalog.load_queries("droppable_objects.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppableObject:
    """A foreign key or index that may be dropped during the load. `own`: a foreign key to its own table.

    `fits_all`: whether it refuses no row that the load can write.
    """

    kind: Kind
    table: str
    name: str
    own: bool
    fits_all: bool
    definition: str
    comment: str
    commented: bool
    validated: bool
    drop: str

    def script(self) -> str:
        """Return the statements that recreate it. A valid key is added NOT VALID and then validated, as `restore`
        expects."""
        parts = [self.definition + (" NOT VALID" if self.validated else "")]
        parts += [self.comment] if self.commented else []
        parts += [schema_changes.validation(self.table, self.name)] if self.validated else []
        return ";\n".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The number of objects that this call created, and that it dropped for the load. 0 if an earlier call did it."""

    created: int
    deferred: int


def prepare(
    connection: Connection, metadata: MetaData, *, rls: bool, emit: Emit, late: frozenset[Ref] = frozenset()
) -> Prepared:
    """Prepare the target for the load. `late`: keys that tables of the migration get after it (`late_keys`).

    Raises: `PlanError` with all differences, before anything is written; `TargetError`; `StoppedError` if a lock is not
    available.
    """
    emit(StepStarted(step="prepare", unit="objects"))
    expected = catalog.read_expected(connection, metadata, rls)
    with schema_changes.translate_errors(), translate_row_errors(), connection.transaction():
        schema_changes.limit_lock_wait(connection)
        actual = catalog.read(connection, schemas_in(metadata))
        own = schema_changes.created_tables(connection)
        late = frozenset(ref for ref in late if ref.table in own or ref.table not in actual.tables)
        actual = without_built(actual, late, schema_changes.unique_indexes(connection))
        require_compatible(connection, actual, expected, emit)
        schema_changes.ensure(connection)
        done = Prepared(
            created=create_missing(connection, metadata, actual, late),
            deferred=defer_objects(connection, metadata, [name for name in expected.tables if name in actual.tables]),
        )
    emit(StepFinished(step="prepare", note=describe(done)))
    return done


def describe(done: Prepared) -> str:
    """Return one line about what was done."""
    created = f"{format_count(done.created, 'objects')} created"
    return f"{created}, {done.deferred} indexes and constraints dropped (recreated later)" if done.deferred else created


@contextmanager
def translate_row_errors() -> Iterator[None]:
    """Translate the error of existing rows that violate a missing key to `PlanError`."""
    try:
        yield
    except psycopg.IntegrityError as error:
        raise PlanError(
            f"existing rows in the target violate a key of the schema: {error.diag.message_primary}."
            f" {hide_values(error.diag.message_detail)}",
            hint="Correct these rows, then run the same command again.",
        ) from error


def require_compatible(connection: Connection, actual: Catalog, expected: Catalog, emit: Emit) -> None:
    """Check the target's schema, and warn about differences that remain. Raises: `PlanError` with all blockers."""
    found = compare(actual, expected)
    blockers = [difference for difference in found if is_blocker(difference)]
    if blockers:
        raise PlanError(
            "the target's schema is not compatible:\n" + "\n".join(f"  {each}" for each in blockers),
            hint=" ".join(
                [
                    "Migrate into an empty database, or alter these objects; an additional column needs a DEFAULT.",
                    *(f"For the migration: {each}" for each in map(suggest, blockers) if each),
                    "`migrate schema` prints the expected schema.",
                ]
            ),
        )
    refuse_hidden_rows(connection, list(expected.tables))
    warn(connection, found, emit)


def is_blocker(difference: CatalogDifference) -> bool:
    """Return whether a difference prevents the load or a later step.

    Not blockers: missing objects that can be created; additional tables, indexes and constraints; additional columns
    that need no value; another order of columns (COPY names them); a foreign key that is NOT VALID; row-level security,
    which the owner of a table decides.
    """
    differs = difference.actual is not None and difference.expected is not None
    match difference.kind:
        case "column":
            return difference.expected is not None or needs_value(str(difference.actual))
        case "constraint":
            return differs and difference.actual != f"{difference.expected} NOT VALID"
        case "enum" | "domain" | "table" | "index":
            return differs
    return False


def suggest(difference: CatalogDifference) -> str | None:
    """Return the statement that removes a difference, if there is a simple one."""
    table, name = quote_table(difference.table), quote(difference.name)
    if difference.kind == "table" and difference.actual == "unlogged table":
        return f"ALTER TABLE {table} SET LOGGED;"
    if difference.kind == "column" and difference.actual == f"{difference.expected} NOT NULL":
        return f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL;"
    return None


def needs_value(column: str) -> bool:
    """Return whether rows cannot be written without a value for an additional column."""
    return column.endswith(" NOT NULL") and " DEFAULT " not in column


def warn(connection: Connection, found: list[CatalogDifference], emit: Emit) -> None:
    """Warn about differences that are no errors but affect other applications of the target."""
    for difference in found:
        if difference.kind == "policy" and difference.actual and difference.expected:
            emit(Notice(text=f"not changed: {difference}", level="warning"))
    without_rls = [each.table for each in found if each.kind == "row_security" and each.actual == "off"]
    # Tables of an earlier, unfinished run contain only rows of that run.
    created = {record.name for record in schema_changes.read(connection) if record.kind == "table"}
    used = [table for table in without_rls if table not in created and has_rows(connection, table)]
    if used:
        text = (
            f"row-level security will be enabled on tables that contain rows: {', '.join(used)}."
            " Applications will see these rows only if they own the tables or set app.current_tenant_id."
            ' To keep row-level security unchanged, set target.rls = "off".'
        )
        emit(Notice(text=text, level="warning"))


def create_missing(connection: Connection, metadata: MetaData, actual: Catalog, late: frozenset[Ref]) -> int:
    """Create the objects that the load needs and the target does not have; return their number. Not the `late` ones."""
    # Row-level security does not change which objects the load needs.
    needed = [each for each in ddl.statements(metadata, rls=False) if each.before_load]
    missing = [statement for statement in needed if not actual.has(statement) and statement.ref not in late]
    create_objects(connection, map(schema_changes.creation, missing), metadata.info.get("extensions", ()))
    return len(missing)


def defer_objects(connection: Connection, metadata: MetaData, tables: list[str]) -> int:
    """Drop foreign keys and plain indexes of empty tables, and of other tables the foreign keys to the same table.

    A table with rows is in use by other tenants. Without its indexes, their application would be slow; without its
    foreign keys, it could write inconsistent rows. Its foreign keys to other tables do not disturb the load, because
    those tables are loaded before. A foreign key to the same table does, because a batch can contain a child row before
    its parent.

    An index or foreign key of the target's owner stays if it can refuse rows: a row that it refuses is rejected by the
    load. After the load, nothing could be done about it.
    """
    declared = {(each.table, each.name) for each in ddl.statements(metadata, rls=False)}
    # With an empty search_path, PostgreSQL includes the schema in every name of a definition.
    with search_path(connection, []):
        droppable = [each for table in tables for each in find_droppable(connection, table)]
        found = [each for each in droppable if each.fits_all or (each.table, each.name) in declared]
        for each in found:
            ref = Ref(each.kind, each.table, each.name)
            schema_changes.defer(connection, ref, definition=each.script(), drop=each.drop)
    return len(found)


def find_droppable(connection: Connection, table: str) -> list[DroppableObject]:
    """Return the objects of a table to drop for the load."""
    with connection.cursor(row_factory=class_row(DroppableObject)) as cursor:
        queries = DROPPABLE_OBJECTS.values()
        found = [each for query in queries for each in cursor.execute(query, {"table": table}).fetchall()]
    if found and is_empty(connection, table):
        return found
    return [each for each in found if each.own]


def is_empty(connection: Connection, name: str) -> bool:
    """Return whether a table is empty, and lock it if it is.

    The check before the lock avoids locking a table in use; the check after it excludes rows inserted in between.
    """
    if has_rows(connection, name):
        return False
    connection.execute(sql.SQL("LOCK TABLE {}").format(identify(name)))
    return not has_rows(connection, name)


def has_rows(connection: Connection, name: str) -> bool:
    query = sql.SQL("SELECT FROM {} LIMIT 1").format(identify(name))
    return connection.execute(query).fetchone() is not None
