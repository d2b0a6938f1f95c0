"""What the objects of the target's owner mean for a migration: blockers and warnings. Nothing is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from migrator.postgres.catalog import build_expected
from migrator.postgres.identifiers import identify
from migrator.postgres.owner_objects import (
    ORIGIN,
    OwnerTrigger,
    may_suspend_triggers,
    read_columns,
    read_constraints,
    read_names,
    read_rows,
    read_triggers,
)
from migrator.postgres.privileges import quote, quote_table
from migrator.postgres.server_checks import Problem
from migrator.postgres.table_names import catalog_query, name_of

Connection = psycopg.Connection[Any]
VECTOR_INDEX = re.compile(r" USING (ivfflat|hnsw) ")
GENERATED = " GENERATED ALWAYS AS "
# Statements of each kind that a migration executes, apart from those that create the declared schema.
TRIAL = (
    "CREATE TABLE {0}.migrator_trial (id integer PRIMARY KEY, name text)",
    "CREATE INDEX migrator_trial_name_idx ON {0}.migrator_trial (name)",
    "COMMENT ON TABLE {0}.migrator_trial IS 'trial'",
    "ALTER TABLE {0}.migrator_trial ADD CONSTRAINT migrator_trial_fk FOREIGN KEY (id) REFERENCES {0}.migrator_trial",
    "ALTER TABLE {0}.migrator_trial DROP CONSTRAINT migrator_trial_fk",
    "DROP INDEX {0}.migrator_trial_name_idx",
    "ALTER TABLE {0}.migrator_trial ALTER name SET STORAGE EXTERNAL",
    "ALTER TABLE {0}.migrator_trial SET UNLOGGED",  # rewrites the table
    "DROP TABLE {0}.migrator_trial",
)


def check_owner_objects(connection: Connection, metadata: MetaData) -> Iterator[Problem]:
    """Yield everything that prevents the migration from writing into the tables that exist already."""
    tables = existing_tables(connection, metadata)
    yield from check_privileges(connection, tables)
    yield from check_casts(connection, tables)
    yield from check_children(connection, tables)
    yield from check_triggers(connection, tables)
    yield from check_unenforced(connection, metadata, tables)
    yield from check_replica_identity(connection, metadata, tables)
    yield from check_publications(connection)
    yield from check_subscriptions(connection, tables)
    yield from check_login_triggers(connection)
    yield from check_event_triggers(connection, metadata)


def existing_tables(connection: Connection, metadata: MetaData) -> list[str]:
    query = catalog_query("SELECT TABLE_NAME(c) FROM pg_class c WHERE c.relkind = 'r'")
    found = {row[0] for row in connection.execute(query.encode())}
    return [name for name in map(name_of, metadata.sorted_tables) if name in found]


def check_privileges(connection: Connection, tables: Sequence[str]) -> Iterator[Problem]:
    """Yield a blocker for each table, sequence and function that the role needs and may not use."""
    for each in read_rows(connection, "not_owned", tables):
        table, role = quote_table(each["table"]), quote(each["role"])
        yield Problem(
            level="blocker",
            text=f"role {each['role']} does not own table {each['table']}, so it may not create its indexes and keys",
            remedy=("" if each["super"] else f"GRANT {quote(each['owner'])} TO {role}; or ")
            + f"ALTER TABLE {table} OWNER TO {role};",
        )
    for each in read_rows(connection, "revoked", tables):
        yield Problem(
            level="blocker",
            text=f"role {each['role']} lacks the privilege {each['privilege']} on table {each['table']}",
            remedy=f"GRANT {each['privilege']} ON {quote(each['table'])} TO {quote(each['role'])};",
        )
    for each in read_rows(connection, "denied", tables):
        yield Problem(
            level="blocker",
            text=f"role {each['role']} may not use {each['kind']} {each['name']}, which table {each['table']} needs",
            remedy=f"GRANT {each['privilege']} ON {each['kind'].upper()} {each['name']} TO {quote(each['role'])};",
        )


def check_casts(connection: Connection, tables: Sequence[str]) -> Iterator[Problem]:
    """Yield a blocker for each cast that replaces the text form of a value: no search path keeps it from being used."""
    for each in read_rows(connection, "casts", tables):
        yield Problem(
            level="blocker",
            text=f"the cast from {each['source']} to {each['target']} calls {each['function']}, so that statements of"
            " the migration could read or write other values",
            remedy=f"For the migration: DROP CAST ({each['source']} AS {each['target']}); and create it again later.",
        )


def check_children(connection: Connection, tables: Sequence[str]) -> Iterator[Problem]:
    """Yield a blocker for each table that inherits from a table of the migration: statements would see its rows."""
    for each in read_rows(connection, "children", tables):
        yield Problem(
            level="blocker",
            text=f"table {each['child']} inherits from {each['table']}, so its rows appear in {each['table']}",
            remedy=f"For the migration: ALTER TABLE {each['child']} NO INHERIT {quote(each['table'])};",
        )


def check_triggers(connection: Connection, tables: Sequence[str]) -> Iterator[Problem]:
    """Yield a blocker for each trigger or rule of the tables that would fire and cannot be suspended."""
    found = read_triggers(connection, tables)
    suspended = [each for each in found if each.enabled == ORIGIN]
    suspendable = bool(suspended) and may_suspend_triggers(connection)
    for each in suspended if not suspendable else ():
        yield Problem(level="blocker", text=_would_fire(each), remedy=_grant_or_disable(connection, each))
    for each in found:
        if each.enabled == "A" or (each.enabled == "R" and suspendable):
            state = "ENABLE ALWAYS" if each.enabled == "A" else "ENABLE REPLICA"
            text = f"{_would_fire(each)} ({state}, so it cannot be suspended)"
            yield Problem(level="blocker", text=text, remedy=f"For the migration: {each.disable}")


def check_unenforced(connection: Connection, metadata: MetaData, tables: Sequence[str]) -> Iterator[Problem]:
    """Yield a blocker for each constraint that PostgreSQL would not enforce while triggers are suspended."""
    triggers = [each for each in read_triggers(connection, tables) if each.enabled == ORIGIN]
    for each in read_constraints(connection, metadata) if triggers else ():
        if each.internal:
            yield Problem(
                level="blocker",
                text=f"{each} is not enforced while {triggers[0]} is suspended",
                remedy="For the migration: " + " ".join(trigger.disable for trigger in triggers),
            )


def check_vector_column(connection: Connection, metadata: MetaData, table: str, column: str) -> Iterator[Problem]:
    """Yield a blocker for each constraint, index and generated column of the owner that depends on an embedding.

    A rehearsal has no embeddings, so it cannot predict which rows would be refused. Vector indexes refuse no row.
    """
    found = [
        (str(each), f"ALTER TABLE {quote_table(table)} DROP CONSTRAINT {quote(each.name)};" if each.kind == "constraint"
         else f"DROP INDEX {quote(each.name)};")
        for each in read_constraints(connection, metadata)
        if each.table == table and column in each.columns and not VECTOR_INDEX.search(each.definition)
    ]  # fmt: skip
    found += [
        (f"generated column {name} of {table}", f"ALTER TABLE {quote_table(table)} DROP COLUMN {quote(name)};")
        for owner, name, definition in read_columns(connection, metadata)
        if owner == table and GENERATED in definition and re.search(rf"\b{re.escape(column)}\b", definition)
    ]
    for name, drop in found:
        yield Problem(
            level="blocker",
            text=f"{name} depends on column {column}, so it is unknown which embeddings it refuses",
            remedy=f'For the migration: {drop} or set embedding.provider = "none" and run `migrate embed` later.',
        )


def _would_fire(trigger: OwnerTrigger) -> str:
    return f"{trigger} would fire on migrated rows and could change or drop them"


def _grant_or_disable(connection: Connection, trigger: OwnerTrigger) -> str:
    disable = f"For the migration: {trigger.disable}"
    if connection.info.server_version < 150000:
        return disable
    return f"GRANT SET ON PARAMETER session_replication_role TO {quote(_role(connection))}; or {_lower(disable)}"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _role(connection: Connection) -> str:
    found = connection.execute("SELECT current_user").fetchone()
    assert found is not None  # the SELECT returns one row
    return str(found[0])


def check_replica_identity(connection: Connection, metadata: MetaData, tables: Sequence[str]) -> Iterator[Problem]:
    """Yield a blocker for each table whose rows a publication does not permit to update or delete."""
    for name in tables:
        table, column = identify(name), next(iter(metadata.tables[name].primary_key.columns), None)
        if column is None:
            continue
        # EXPLAIN checks the statement without executing it: no trigger fires.
        statements = (
            sql.SQL("EXPLAIN UPDATE {} SET {column} = {column}").format(table, column=sql.Identifier(column.name)),
            sql.SQL("EXPLAIN DELETE FROM {}").format(table),
        )
        try:
            with connection.transaction(force_rollback=True):
                for statement in statements:
                    connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            continue  # reported by `check_privileges`
        except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.InvalidColumnReference) as error:
            yield Problem(
                level="blocker",
                text=f"a publication does not permit changes to table {name}: {error.diag.message_primary}",
                remedy=f"ALTER TABLE {quote_table(name)} REPLICA IDENTITY DEFAULT; or remove it from the publication,"
                " or its columns and row filters.",
            )


def check_publications(connection: Connection) -> Iterator[Problem]:
    """Yield a warning for each publication that also replicates the records of the migration."""
    for name in read_names(connection, "publications"):
        yield Problem(
            level="warning",
            text=f"publication {name} is FOR ALL TABLES, so it also publishes the tables of schema migrator",
            remedy="Subscribers need these tables, too: CREATE SCHEMA migrator; and its tables, or disable the"
            " subscriptions for the migration.",
        )


def check_subscriptions(connection: Connection, tables: Sequence[str]) -> Iterator[Problem]:
    """Yield a blocker for each subscription that writes to the tables while they are loaded."""
    for each in read_rows(connection, "subscriptions", tables):
        yield Problem(
            level="blocker",
            text=f"subscription {each['name']} writes to {each['tables']}; rows of both would collide",
            remedy=f"For the migration: ALTER SUBSCRIPTION {quote(each['name'])} DISABLE;",
        )


def check_login_triggers(connection: Connection) -> Iterator[Problem]:
    """Yield a warning for each event trigger that fires when a session of the migration begins."""
    for name in read_names(connection, "login_triggers"):
        yield Problem(
            level="warning",
            text=f"event trigger {name} fires at every login, also of the sessions of the migration; revert does not"
            " undo what it writes",
            remedy=f"For the migration: {_disable_event_trigger(name)} unless its effects are wanted.",
        )


def check_event_triggers(connection: Connection, metadata: MetaData) -> Iterator[Problem]:
    """Yield a blocker if event triggers refuse the statements of the migration or write to tables.

    The statements are executed in a transaction that is rolled back.
    """
    names = ", ".join(read_names(connection, "event_triggers"))
    if not names:
        return
    remedy = f"For the migration: {' '.join(map(_disable_event_trigger, read_names(connection, 'event_triggers')))}"
    try:
        with connection.transaction(force_rollback=True):
            before = set(read_names(connection, "written"))
            _execute_trial(connection, metadata)
            written = sorted(set(read_names(connection, "written")) - before)
    except psycopg.errors.InsufficientPrivilege:
        return  # reported with the privileges
    except psycopg.Error as error:
        text = f"event trigger {names}: a schema change fails: {error.diag.message_primary}"
        yield Problem(level="blocker", text=text, remedy=remedy)
        return
    if written:
        text = f"event trigger {names} writes to {', '.join(written)} on every schema change; revert cannot undo that"
        yield Problem(level="blocker", text=text, remedy=remedy)
    else:
        text = f"event trigger {names} fires on the schema changes of the migration"
        yield Problem(level="warning", text=text, remedy=remedy + " unless its effects are wanted.")


def _execute_trial(connection: Connection, metadata: MetaData) -> None:
    connection.execute("SET LOCAL client_min_messages = warning")
    for statement in TRIAL:
        connection.execute(sql.SQL(statement).format(sql.Identifier("public")))
    build_expected(connection, metadata, rls=True)


def _disable_event_trigger(name: str) -> str:
    return f"ALTER EVENT TRIGGER {quote(name)} DISABLE;"
