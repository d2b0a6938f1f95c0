"""Placeholder rows for the existing rows of a target, so that a dry run in another database meets the same conflicts.

They have the keys, unique values, references and other NOT NULL columns of the existing rows. Texts that are not unique
are replaced by empty texts, so the content of other applications stays in the target.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql
from sqlalchemy import Column, MetaData, Table, Text, UniqueConstraint

from migrator.errors import UsageError
from migrator.postgres import ddl
from migrator.postgres.foreign_keys import Relation, existing
from migrator.postgres.search_path import create_objects
from migrator.postgres.table_names import name_of
from migrator.state.records import Connection, Namespace, has_records


def copy_placeholders(target: Connection, scratch: Connection, metadata: MetaData, namespace: Namespace) -> int:
    """Create the existing tables of the target in `scratch`, with placeholder rows; return the number of rows."""
    relations = {Relation.named(name_of(table), namespace.rows): table for table in metadata.sorted_tables}
    there = existing(target, relations)
    tables = [table for relation, table in relations.items() if relation in there]
    if not tables:
        return 0
    with scratch.transaction():
        scripts = [statement.sql for statement in ddl.statements(metadata, rls=False)]
        create_objects(scratch, scripts, metadata.info.get("extensions", ()))
    return sum(_copy_table(target, scratch, table, namespace) for table in tables)


def _copy_table(target: Connection, scratch: Connection, table: Table, namespace: Namespace) -> int:
    columns = list(placeholder_columns(table))
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
    values = sql.SQL(", ").join(value for _, value in columns)
    copy_from = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(values, namespace.table(name_of(table)))
    copy_to = sql.SQL("COPY {} ({}) FROM STDIN").format(namespace.table(name_of(table)), names)
    with target.cursor() as source, scratch.cursor() as sink:
        with source.copy(copy_from) as rows, sink.copy(copy_to) as placeholders:
            for data in rows:
                placeholders.write(data)
        return sink.rowcount


def placeholder_columns(table: Table) -> Iterator[tuple[str, sql.Composable]]:
    """Yield (column, expression to select) of all columns of a placeholder row."""
    unique = set(_unique_columns(table))
    for column in table.columns:
        if column.computed is not None:
            continue
        name = sql.Identifier(column.name)
        if column.name in unique or (not column.nullable and not _is_plain_text(column)):
            yield column.name, name
        elif not column.nullable:
            yield column.name, sql.SQL("''")


def _unique_columns(table: Table) -> Iterator[str]:
    yield from (column.name for column in table.primary_key.columns)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield from (column.name for column in constraint.columns)
    for index in table.indexes:
        if index.unique:
            yield from (column.name for column in index.columns)


def _is_plain_text(column: Column[object]) -> bool:
    return isinstance(column.type, Text) and not column.foreign_keys


def refuse_migrated(target: Connection, namespace: Namespace) -> None:
    """Raises: `UsageError` if a migration has begun in the target, because the next run would resume it."""
    if has_records(target, namespace):
        raise UsageError(
            "this target already contains a migration; a dry run would not show what `run` does next",
            hint="Show its state with `migrate status`, or undo it with `migrate revert`.",
        )
