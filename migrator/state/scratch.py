"""A place to rehearse in: scratch tables beside a target's own, or in a database of their own.

They have the columns of the real ones, and the keys that loading needs; no foreign keys, no other indexes. What rows of
others already claim in the target is known here too, or the rehearsal would load what the run must reject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg import sql

from migrator.errors import StoppedError
from migrator.mapping.collection import Collection
from migrator.state import journal
from migrator.state.own_transactions import written_during_run
from migrator.state.records import (
    SCRATCH_NAMESPACE,
    VERSION,
    Connection,
    Namespace,
    create_records,
    has_records,
    read_version,
)


@contextmanager
def scratch_namespace(
    connection: Connection, mappings: Mapping[str, Collection], token: str, alone: frozenset[str]
) -> Iterator[tuple[Namespace, int | None]]:
    """Scratch schemas in the target's own database, dropped at the end, and the number of the run in them.

    A rehearsal that is stopped or killed leaves them. The next one with the same `token` goes on with them: it gets the
    number; a new one gets None. `alone` names tables that hold no rows of others.
    """
    run = find_dry_run(connection, token)
    if run is None:
        drop(connection)
        make(connection, mappings, alone)
    # Statistics of these tables need be no better than to tell the large ones.
    connection.execute("SET default_statistics_target = 10")
    try:
        yield SCRATCH_NAMESPACE, run
    except (KeyboardInterrupt, StoppedError):
        raise
    except BaseException:
        if not connection.closed:
            drop(connection)
        raise
    drop(connection)


def find_dry_run(connection: Connection, token: str) -> int | None:
    """The run of a rehearsal that did not come to its end, if it was the same."""
    same = read_version(connection, SCRATCH_NAMESPACE) == VERSION
    latest = journal.latest_run(connection, SCRATCH_NAMESPACE) if same else None
    return latest[0] if latest is not None and latest[2] == {"rehearsal": token} else None


def make(connection: Connection, mappings: Mapping[str, Collection], alone: frozenset[str]) -> None:
    """The schemas and what is in them. Nothing has to outlive a crash, and no text is compressed."""
    with connection.transaction():
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCRATCH_NAMESPACE.rows)))
        for name in ["tenants", *(mapping.table.name for mapping in mappings.values())]:
            statement = sql.SQL("CREATE UNLOGGED TABLE {} (LIKE {} INCLUDING DEFAULTS) WITH ({})")
            connection.execute(statement.format(SCRATCH_NAMESPACE.table(name), Namespace().table(name), HASTY))
        add_keys(connection, SCRATCH_NAMESPACE, mappings)
        for mapping in mappings.values():
            if mapping.table.name not in alone:
                seed_existing_values(connection, mapping)
        create_records(connection, SCRATCH_NAMESPACE)
        for schema, name, column in connection.execute(
            COMPRESSED, [SCRATCH_NAMESPACE.rows, SCRATCH_NAMESPACE.records]
        ).fetchall():
            alter = sql.SQL("ALTER TABLE {} ALTER {} SET STORAGE EXTERNAL")
            connection.execute(alter.format(sql.Identifier(schema, name), sql.Identifier(column)))
        for (name,) in connection.execute(LOGGED, [SCRATCH_NAMESPACE.records]).fetchall():
            table = sql.Identifier(SCRATCH_NAMESPACE.records, name)
            connection.execute(sql.SQL("ALTER TABLE {} SET UNLOGGED").format(table))
            connection.execute(sql.SQL("ALTER TABLE {} SET ({})").format(table, HASTY))


# As much of a row as fits stays in its page: what is read once need not be put aside. And nobody has to tidy up.
HASTY = sql.SQL("toast_tuple_target = 8160, autovacuum_enabled = off")
COMPRESSED = """
    SELECT c.relnamespace::regnamespace::text, c.relname, a.attname
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND a.attstorage = 'x'
     WHERE c.relkind = 'r' AND c.relnamespace IN (%s::regnamespace, %s::regnamespace)
"""
LOGGED = """
    SELECT relname FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p' AND relnamespace = %s::regnamespace
"""


def drop(connection: Connection) -> None:
    """Takes the scratch schemas away, also those of a rehearsal that was killed."""
    for schema in (SCRATCH_NAMESPACE.rows, SCRATCH_NAMESPACE.records):
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def add_keys(connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection]) -> None:
    """Primary keys and unique values, and nothing NOT NULL beside."""
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (id)").format(namespace.table("tenants")))
    for mapping in mappings.values():
        table = namespace.table(mapping.table.name)
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(table, sql.Identifier(mapping.key.column))
        )
        for column in mapping.unique:
            connection.execute(sql.SQL("ALTER TABLE {} ADD UNIQUE ({})").format(table, sql.Identifier(column)))
        drop_not_null(connection, table, mapping)


def drop_not_null(connection: Connection, table: sql.Identifier, mapping: Collection) -> None:
    """A seeded claim has no other columns than those it is about."""
    for column in mapping.table.columns:
        if not column.nullable and not column.primary_key:
            name = sql.Identifier(column.name)
            connection.execute(sql.SQL("ALTER TABLE {} ALTER {} DROP NOT NULL").format(table, name))


def seed_existing_values(connection: Connection, mapping: Collection) -> None:
    """Ids and unique values of rows that are not this migration's."""
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in conflict_columns(mapping))
    query = sql.SQL("INSERT INTO {} ({}) SELECT {} {}").format(
        SCRATCH_NAMESPACE.table(mapping.table.name), columns, columns, preexisting_rows(connection, mapping)
    )
    connection.execute(query)


def preexisting_rows(connection: Connection, mapping: Collection) -> sql.Composed:
    """`FROM … WHERE …`: the rows of a table of the target that no document of this migration became."""
    real = Namespace()
    everything = sql.SQL("FROM {} t").format(real.table(mapping.table.name))
    if not has_records(connection, real):
        return everything
    # A row that was written while the run was under way, in its tenant, is the run's even if its ledger entry was lost:
    # `verify` must say what was lost, not that somebody else has the id.
    ours = real.sql(
        " WHERE NOT EXISTS (SELECT FROM {ledger} l WHERE l.collection = {name} AND l.outcome = 'loaded'"
        " AND l.target_id = t.{key}::text) AND NOT ({during_run} AND coalesce(t.tenant_id ="
        " (SELECT (s.detail ->> 'id')::uuid FROM {steps} s WHERE s.step = 'tenant'), false))",
        during_run=written_during_run(real),
        name=sql.Literal(mapping.name),
        key=sql.Identifier(mapping.key.column),
    )
    return everything + ours


def conflict_columns(mapping: Collection) -> list[str]:
    """The columns in which rows can stand in each other's way, and the tenant they belong to."""
    return [mapping.key.column, *mapping.unique, "tenant_id"]
