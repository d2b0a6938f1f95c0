"""Scratch schemas for a dry run in the database of the target: copies of its tables, and records of their own.

The tables have the columns of the real tables and the keys that loading needs, but no foreign keys or other indexes.
They also contain the IDs and unique values of pre-existing rows, so that a dry run rejects the same documents as a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg import sql

from migrator.errors import StoppedError
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection
from migrator.mapping.shared_tables import mappings_of
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenancy_of, tenant_column
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
from migrator.state.row_keys import key_of


@contextmanager
def scratch_namespace(
    connection: Connection,
    mappings: Mapping[str, Collection],
    token: str,
    own_tables: frozenset[str],
    *,
    with_following: bool = False,
) -> Iterator[tuple[Namespace, int | None]]:
    """Create the scratch schemas, and drop them at the end of the block. Yield them and the run to resume, or None.

    An interrupted dry run leaves the schemas behind. The next dry run with the same `token` resumes it. `own_tables`
    are tables without pre-existing rows. `with_following`: changes will be applied to the scratch tables.
    """
    run = find_dry_run(connection, token)
    if run is None:
        drop(connection)
        create(connection, mappings, own_tables, with_following=with_following)
    # The planner only has to recognize large tables, so a small sample is enough.
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
    """Return the run of an interrupted dry run with the same token, or None."""
    readable = read_version(connection, SCRATCH_NAMESPACE) == VERSION
    latest = journal.latest_run(connection, SCRATCH_NAMESPACE) if readable else None
    return latest[0] if latest is not None and latest[2] == {"dry_run": token} else None


def create(
    connection: Connection, mappings: Mapping[str, Collection], own_tables: frozenset[str], *, with_following: bool
) -> None:
    """Create the scratch schemas with their tables and records. All tables are unlogged, few values are compressed."""
    with connection.transaction():
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCRATCH_NAMESPACE.rows)))
        for name in table_names(mappings):
            statement = sql.SQL(
                "CREATE UNLOGGED TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION)"
            )
            connection.execute(statement.format(SCRATCH_NAMESPACE.table(name), Namespace().table(name)))
        add_keys(connection, SCRATCH_NAMESPACE, mappings)
        for mapping in first_of_tables(mappings):
            if name_of(mapping.table) not in own_tables:
                seed_existing_values(connection, mapping, mappings)
        create_records(connection, SCRATCH_NAMESPACE, with_following=with_following, unlogged=True)
        _make_fast(connection)


def table_names(mappings: Mapping[str, Collection]) -> list[str]:
    """Return the tables that the scratch schema has: those of the mappings, and the table of tenants."""
    tenancies = (tenancy_of(mapping.table.metadata) for mapping in mappings.values())
    tenants = (tenancy.table for tenancy in tenancies if tenancy is not None)
    mapped = (name for mapping in mappings.values() for name in mapping.table_names)
    return list(dict.fromkeys([*tenants, *mapped]))


def _make_fast(connection: Connection) -> None:
    """Switch compression and autovacuum off for the tables of both schemas.

    Not compression of columns with an index: it decides whether the index can hold a long text, as in the target.
    """
    schemas = [SCRATCH_NAMESPACE.rows, SCRATCH_NAMESPACE.records]
    for schema, name, columns in connection.execute(TABLES, schemas).fetchall():
        uncompressed = [
            sql.SQL("ALTER {} SET STORAGE EXTERNAL").format(sql.Identifier(column)) for column in columns or []
        ]
        actions = sql.SQL(", ").join([sql.SQL("SET ({})").format(STORAGE), *uncompressed])
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(schema, name), actions))


# Rows are read once, so large values stay in the page of their row if they fit, and vacuuming does not pay.
STORAGE = sql.SQL("toast_tuple_target = 8160, autovacuum_enabled = off")
TABLES = """
    SELECT c.relnamespace::regnamespace::text, c.relname, array_agg(a.attname) FILTER (WHERE a.attstorage = 'x'
             AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey)))
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
     WHERE c.relkind = 'r' AND c.relnamespace IN (%s::regnamespace, %s::regnamespace)
     GROUP BY c.oid
"""


def drop(connection: Connection) -> None:
    """Drop the scratch schemas, also those of a killed dry run."""
    for schema in (SCRATCH_NAMESPACE.rows, SCRATCH_NAMESPACE.records):
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def add_keys(connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection]) -> None:
    """Add primary keys and unique constraints, and drop NOT NULL from all other columns."""
    tenants = next((tenancy_of(mapping.table.metadata) for mapping in mappings.values()), None)
    if tenants is not None:
        connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (id)").format(namespace.table(tenants.table)))
    for mapping in mappings.values():
        for rule in mapping.child_rules:
            _index_children(connection, namespace, rule)
    for mapping in first_of_tables(mappings):
        table = namespace.table(name_of(mapping.table))
        connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(table, key_of(mapping).names()))
        for column in mapping.unique:
            connection.execute(sql.SQL("ALTER TABLE {} ADD UNIQUE ({})").format(table, sql.Identifier(column)))
        drop_not_null(connection, table)


def _index_children(connection: Connection, namespace: Namespace, rule: Children) -> None:
    """Add an index by which rows of elements are found, as the primary key of the target or another index does."""
    columns = [name for name in (*rule.parent_columns, rule.position) if name is not None]
    connection.execute(
        sql.SQL("CREATE INDEX ON {} ({})").format(
            namespace.table(name_of(rule.table)), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
    )


def drop_not_null(connection: Connection, table: sql.Identifier) -> None:
    """Drop NOT NULL: `seed_existing_values` inserts rows with few columns."""
    query = """
        SELECT attname FROM pg_attribute a WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull
           AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary
                              AND a.attnum = ANY (i.indkey::int2[]))
    """
    names = [name for (name,) in connection.execute(query, (table.as_string(connection),)).fetchall()]
    actions = [sql.SQL("ALTER {} DROP NOT NULL").format(sql.Identifier(name)) for name in names]
    if actions:
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(actions)))


def first_of_tables(mappings: Mapping[str, Collection]) -> list[Collection]:
    """Return one mapping of each table. Those of one table have the same key and the same unique columns."""
    return list({name_of(mapping.table): mapping for mapping in mappings.values()}.values())


def seed_existing_values(connection: Connection, mapping: Collection, mappings: Mapping[str, Collection]) -> None:
    """Insert the IDs and unique values of the pre-existing rows of a table."""
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in conflict_columns(mapping))
    query = sql.SQL("INSERT INTO {} ({}) SELECT {} {}").format(
        SCRATCH_NAMESPACE.table(name_of(mapping.table)),
        columns,
        columns,
        preexisting_rows(connection, mapping, mappings),
    )
    connection.execute(query)


def preexisting_rows(connection: Connection, mapping: Collection, mappings: Mapping[str, Collection]) -> sql.Composed:
    """Compose `FROM … WHERE …`: the rows `t` of a table of the target that this migration did not load."""
    real = Namespace()
    everything = sql.SQL("FROM {} t").format(real.table(name_of(mapping.table)))
    if not has_records(connection, real):
        return everything
    # A row of the tenant that was written during the run was loaded by it, even if its ledger entry is missing:
    # `verify` must report the missing entry, not a conflict with a pre-existing row.
    not_loaded = real.sql(
        " WHERE NOT EXISTS (SELECT FROM {ledger} l WHERE l.collection = ANY({names}) AND l.outcome = 'loaded'"
        " AND l.target_id = {key}) AND NOT ({during_run} AND {own})",
        own=_of_recorded_tenant(mapping),
        during_run=written_during_run(real),
        names=sql.Literal([each.name for each in mappings_of(mappings, name_of(mapping.table))]),
        key=key_of(mapping).text("t"),
    )
    return everything + not_loaded


def _of_recorded_tenant(mapping: Collection) -> sql.Composable:
    """The condition that a row `t` belongs to the tenant of the recorded run."""
    column = tenant_column(mapping.table)
    if column is None:
        return sql.SQL("true")
    return Namespace().sql(
        "coalesce(t.{column} = (SELECT (s.detail ->> 'id')::uuid FROM {steps} s WHERE s.step = 'tenant'), false)",
        column=sql.Identifier(column),
    )


def conflict_columns(mapping: Collection) -> list[str]:
    """Return the columns that can cause conflicts between rows, and the column of the tenant."""
    tenant = tenant_column(mapping.table)
    return [*key_of(mapping).columns, *mapping.unique, *([] if tenant is None else [tenant])]
