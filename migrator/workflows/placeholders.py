"""Stand-ins for the rows that are in a target already: what a rehearsal elsewhere needs of them, and no more.

Keys, unique values, references and whatever else must not be NULL; texts that nobody claims are left behind, so no
content of others leaves the target.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql
from sqlalchemy import Column, MetaData, Table, Text, UniqueConstraint

from migrator.errors import UsageError
from migrator.postgres import ddl
from migrator.postgres.catalog import schema_first
from migrator.postgres.foreign_keys import Relation, relation_exists
from migrator.state.records import Connection, Namespace, has_records

PLACE = Namespace()


def copy_in(real: Connection, scratch: Connection, metadata: MetaData) -> int:
    """Brings `scratch` to where `real` stands: its tables, if it has any, and its rows. Returns how many rows."""
    tables = [table for table in metadata.sorted_tables if relation_exists(real, Relation(PLACE.rows, table.name))]
    if not tables:
        return 0
    with scratch.transaction(), schema_first(scratch, PLACE.rows):
        scratch.execute(ddl.render(metadata, rls=False).encode())
    return sum(_copy_table(real, scratch, table) for table in tables)


def _copy_table(real: Connection, scratch: Connection, table: Table) -> int:
    columns = list(kept_columns(table))
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
    values = sql.SQL(", ").join(value for _, value in columns)
    taking = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(values, PLACE.table(table.name))
    giving = sql.SQL("COPY {} ({}) FROM STDIN").format(PLACE.table(table.name), names)
    with real.cursor() as source, scratch.cursor() as sink:
        with source.copy(taking) as taken, sink.copy(giving) as given:
            for data in taken:
                given.write(data)
        return sink.rowcount


def kept_columns(table: Table) -> Iterator[tuple[str, sql.Composable]]:
    """(column, what to select) of all that a stand-in has."""
    claimed = set(_claimed(table))
    for column in table.columns:
        name = sql.Identifier(column.name)
        if column.name in claimed or (not column.nullable and not _is_plain_text(column)):
            yield column.name, name
        elif not column.nullable:
            yield column.name, sql.SQL("''")


def _claimed(table: Table) -> Iterator[str]:
    yield from (column.name for column in table.primary_key.columns)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield from (column.name for column in constraint.columns)
    for index in table.indexes:
        if index.unique:
            yield from (column.name for column in index.columns)


def _is_plain_text(column: Column[object]) -> bool:
    return isinstance(column.type, Text) and not column.foreign_keys


def refuse_migrated(real: Connection) -> None:
    """Raises `UsageError` for a target in which a migration has begun: what comes next there is no beginning."""
    if has_records(real, PLACE):
        raise UsageError(
            "there is a migration in this target already, so a rehearsal would not show what `run` does next",
            hint="`migrate status` shows where it stands; `migrate revert` takes it back.",
        )
