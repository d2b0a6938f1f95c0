"""Makes the target ready to load: refuses a schema that does not fit, adds what lacks, puts aside what slows a load.

All in one transaction: a target is ready, or as it was. Foreign keys, plain indexes and row security are `constrain`'s
business, after the load; so is bringing back what is put aside here. What is changed is recorded by `objects`.
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
from migrator.postgres import catalog, ddl, schema_changes
from migrator.postgres.catalog import Catalog
from migrator.postgres.catalog_diff import CatalogDifference, compare
from migrator.postgres.privileges import refuse_hidden_rows
from migrator.redaction import hide_values

Connection = psycopg.Connection[Any]

OBSTACLES = catalog.load_queries("droppable_objects.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A foreign key or index that may be put aside. `own`: the foreign key points to its own table."""

    kind: ddl.Kind
    table: str
    name: str
    own: bool
    definition: str
    comment: str
    commented: bool
    validated: bool
    drop: str

    def script(self) -> str:
        """Everything that makes it again. A valid key is added unchecked and then validated, as `restore` expects."""
        parts = [self.definition + (" NOT VALID" if self.validated else "")]
        parts += [self.comment] if self.commented else []
        parts += [schema_changes.validation(self.table, self.name)] if self.validated else []
        return ";\n".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """How many objects were created and put aside by this call; both 0 where an earlier one had done it all."""

    created: int
    deferred: int


def prepare(connection: Connection, metadata: MetaData, *, rls: bool, emit: Emit) -> Prepared:
    """Errors: `PlanError` names every difference, before anything is written; `TargetError`; `StoppedError`, a lock."""
    emit(StepStarted(step="prepare", unit="objects"))
    wanted = catalog.read_expected(connection, metadata, rls)
    with schema_changes.translate_errors(), explained_rows(), connection.transaction():
        schema_changes.limit_lock_wait(connection)
        actual = catalog.read(connection)
        refuse(connection, actual, wanted, emit)
        schema_changes.ensure(connection)
        done = Prepared(
            created=add_missing(connection, metadata, actual),
            deferred=deferred(connection, [name for name in wanted.tables if name in actual.tables]),
        )
    emit(StepFinished(step="prepare", note=f"{done.created} objects created, {done.deferred} put aside"))
    return done


@contextmanager
def explained_rows() -> Iterator[None]:
    """Rows of others that break a key which is still missing."""
    try:
        yield
    except psycopg.IntegrityError as error:
        raise PlanError(
            f"rows in the target break a key that is missing there: {error.diag.message_primary}."
            f" {hide_values(error.diag.message_detail)}",
            hint="Put these rows right, or create the key yourself, then run the same command again.",
        ) from error


def refuse(connection: Connection, actual: Catalog, wanted: Catalog, emit: Emit) -> None:
    """Raises `PlanError` with all that is in the way; tells of policies that will stay as they are."""
    found = compare(actual, wanted)
    obstacles = [difference for difference in found if blocks(difference)]
    if obstacles:
        raise PlanError(
            "the target's schema is not the one to migrate into:\n" + "\n".join(f"  {each}" for each in obstacles),
            hint="Migrate into an empty database, or alter these objects; `migrate schema` prints what is wanted.",
        )
    refuse_hidden_rows(connection, list(wanted.tables))
    warn(connection, found, emit)


def blocks(difference: CatalogDifference) -> bool:
    """Whether the load, or a later step, could not live with it.

    Not in the way: whatever is missing and can be added; tables, indexes and constraints beyond what is wanted; another
    order of columns (COPY names them); a foreign key that its owner left NOT VALID; row security, the owner's choice.
    """
    differs = difference.actual is not None and difference.expected is not None
    match difference.kind:
        case "column":
            return True
        case "constraint":
            return differs and difference.actual != f"{difference.expected} NOT VALID"
        case "enum" | "table" | "index":
            return differs
    return False


def warn(connection: Connection, found: list[CatalogDifference], emit: Emit) -> None:
    """Of what is nobody's mistake, but may surprise the application that shares the target."""
    for difference in found:
        if difference.kind == "policy" and difference.actual and difference.expected:
            emit(Notice(text=f"left as it is: {difference}", level="warning"))
    switched = [each.table for each in found if each.kind == "row_security" and each.actual == "off"]
    # Tables of an earlier, unfinished run hold nothing but what it brought.
    ours = {record.name for record in schema_changes.read(connection) if record.kind == "table"}
    used = [table for table in switched if table not in ours and has_rows(connection, table)]
    if used:
        text = (
            f"row-level security will be switched on for {', '.join(used)}, which hold rows already: from then on an"
            " application sees none of them unless it owns the tables or sets app.current_tenant_id"
            ' (target.rls = "off" leaves everything as it is)'
        )
        emit(Notice(text=text, level="warning"))


def add_missing(connection: Connection, metadata: MetaData, actual: Catalog) -> int:
    """Creates what a load needs and the target lacks."""
    # RLS makes no difference to what is needed before the load.
    wanted = [each for each in ddl.statements(metadata, rls=False) if each.before_load]
    missing = [statement for statement in wanted if not actual.has(statement)]
    with catalog.schema_first(connection, "public"):
        for statement in missing:
            schema_changes.create(connection, statement)
    return len(missing)


def deferred(connection: Connection, tables: list[str]) -> int:
    """Drops foreign keys and plain indexes of empty tables, and of the others the foreign keys to the table itself.

    A table with rows is in use, by other tenants: without its indexes their application would crawl, and without its
    foreign keys it could write what never comes right again. Its keys to other tables stand no load in the way, as
    those are loaded before; a key to the table itself does, as a batch may bring a child before its parent.
    """
    # An empty search_path renders every name with its schema: the definitions hold wherever they are executed.
    with catalog.search_path(connection, []):
        aside = [obstacle for table in tables for obstacle in find_obstacles(connection, table)]
        for obstacle in aside:
            ref = ddl.Ref(obstacle.kind, obstacle.table, obstacle.name)
            schema_changes.defer(connection, ref, definition=obstacle.script(), drop=obstacle.drop)
    return len(aside)


def find_obstacles(connection: Connection, table: str) -> list[Obstacle]:
    with connection.cursor(row_factory=class_row(Obstacle)) as cursor:
        found = [each for query in OBSTACLES.values() for each in cursor.execute(query, {"table": table}).fetchall()]
    if found and is_empty(connection, table):
        return found
    return [obstacle for obstacle in found if obstacle.own]


def is_empty(connection: Connection, name: str) -> bool:
    """Looks before it locks, so that a table in use is not stopped; and after, so that no row slips in between."""
    if has_rows(connection, name):
        return False
    connection.execute(sql.SQL("LOCK TABLE {}").format(sql.Identifier("public", name)))
    return not has_rows(connection, name)


def has_rows(connection: Connection, name: str) -> bool:
    query = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier("public", name))
    return connection.execute(query).fetchone() is not None
