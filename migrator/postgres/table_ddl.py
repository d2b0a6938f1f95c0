"""Compiles one table of SQLAlchemy's metadata: the table, its constraints and indexes, the restriction to a tenant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Constraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, ExecutableDDLElement

from migrator.errors import UsageError
from migrator.postgres.statements import Kind, Ref, Statement
from migrator.postgres.tenancy import Tenancy

VECTOR_INDEX_METHODS = frozenset({"ivfflat", "hnsw"})  # access methods
TABLE_NAME = "migrate_name"  # in the `info` of a copied table: the name of the table

# With paramstyle `named`, SQLAlchemy does not double a %. The statements are executed without parameters.
DIALECT: Any = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy
PREPARER: Any = DIALECT.identifier_preparer


def compile_ddl(element: ExecutableDDLElement) -> str:
    """Return a statement as PostgreSQL gets it."""
    return str(element.compile(dialect=DIALECT)).strip()


def own_name(table: Table) -> str:
    """Return the name of the table that `tables_in` has copied."""
    return str(table.info[TABLE_NAME])


def table_statements(table: Table, base: tuple[Ref, ...]) -> Iterator[Statement]:
    """Yield the bare table, then its constraints and indexes by name (SQLAlchemy keeps them in sets)."""
    parts = [constraint_statement(table, constraint) for constraint in table.constraints if has_columns(constraint)]
    parts += [index_statement(table, index) for index in table.indexes]
    yield Statement(
        kind="table",
        table=own_name(table),
        name=own_name(table),
        # Compiled after the constraints, because AddConstraint removes them from the table.
        sql=compile_ddl(CreateTable(table)),
        undo_sql=f"DROP TABLE IF EXISTS {PREPARER.format_table(table)}",
        needs=base,
    )
    yield from sorted(parts, key=lambda statement: statement.name)


def has_columns(constraint: Constraint) -> bool:
    """Return False for the empty primary key that SQLAlchemy adds to a table without a primary key."""
    return not isinstance(constraint, PrimaryKeyConstraint) or bool(constraint.columns)


def constraint_statement(table: Table, constraint: Constraint) -> Statement:
    """Return the statement that adds a constraint to its table."""
    name, quoted = require_name(table, constraint), PREPARER.format_table(table)
    statement = Statement(
        kind=constraint_kind(table, constraint),
        table=own_name(table),
        name=name,
        sql=compile_ddl(AddConstraint(constraint)),
        undo_sql=f"ALTER TABLE IF EXISTS {quoted} DROP CONSTRAINT IF EXISTS {PREPARER.quote(name)}",
        needs=referenced_tables(constraint),
    )
    if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint):
        return in_two_steps(statement, table, [column.name for column in constraint.columns])
    return statement


def in_two_steps(statement: Statement, table: Table, columns: list[str]) -> Statement:
    """Add the two steps to a key or unique constraint, unless it has options, such as DEFERRABLE or INCLUDE."""
    name, listed = PREPARER.quote(statement.name), ", ".join(map(PREPARER.quote, columns))
    quoted, kind = PREPARER.format_table(table), "PRIMARY KEY" if statement.kind == "key" else "UNIQUE"
    begin = f"ALTER TABLE {quoted} ADD CONSTRAINT {name}"
    if statement.sql != f"{begin} {kind} ({listed})":
        return statement
    return replace(
        statement,
        columns=tuple(columns),
        index_sql=f"CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {quoted} ({listed})",
        attach_sql=f"{begin} {kind} USING INDEX {name}",
        drop_index_sql=f"DROP INDEX IF EXISTS {PREPARER.quote_schema(table.schema)}.{name}",
    )


def constraint_kind(table: Table, constraint: Constraint) -> Kind:
    """Return the kind of a constraint. Raises `UsageError` for an unsupported type."""
    match constraint:
        case PrimaryKeyConstraint():
            return "key"
        case UniqueConstraint():
            return "unique"
        case CheckConstraint():
            return "check"
        case ForeignKeyConstraint():
            return "foreign_key"
    raise UsageError(
        f"table {own_name(table)}: constraints of type {type(constraint).__name__} are not supported",
        hint="Use primary keys, unique, check and foreign key constraints.",
    )


def referenced_tables(constraint: Constraint) -> tuple[Ref, ...]:
    """Return the table that a foreign key references; `with_needs` adds the keys of that table."""
    if not isinstance(constraint, ForeignKeyConstraint):
        return ()
    other = own_name(constraint.referred_table)
    return (Ref("table", other, other),)


def index_statement(table: Table, index: Index) -> Statement:
    """Return the statement that creates an index."""
    method = index.dialect_options["postgresql"]["using"] or "btree"
    plain: Kind = "vector_index" if method in VECTOR_INDEX_METHODS else "index"
    name = require_name(table, index)
    return Statement(
        kind="unique_index" if index.unique else plain,
        table=own_name(table),
        name=name,
        sql=compile_ddl(CreateIndex(index)),
        undo_sql=f"DROP INDEX IF EXISTS {PREPARER.quote_schema(table.schema)}.{PREPARER.quote(name)}",
        method=method,
    )


def require_name(table: Table, item: Constraint | Index) -> str:
    if isinstance(item.name, str):
        return str(item.name)
    raise UsageError(
        f"table {own_name(table)}: a {type(item).__name__} has no name",
        hint="Add a name, or a naming_convention to the MetaData: only named objects can be compared and dropped.",
    )


def tenant_statements(table: Table, tenancy: Tenancy) -> Iterator[Statement]:
    """Yield the statements that restrict a table to the rows of the tenant of the session."""
    quoted, policy = PREPARER.format_table(table), PREPARER.quote(tenancy.policy)
    yield Statement(
        kind="policy",
        table=own_name(table),
        name=tenancy.policy,
        sql=f"CREATE POLICY {policy} ON {quoted} USING ({tenancy.visible_rows})",
        undo_sql=f"DROP POLICY IF EXISTS {policy} ON {quoted}",
    )
    yield Statement(
        kind="row_security",
        table=own_name(table),
        name=own_name(table),
        sql=f"ALTER TABLE {quoted} ENABLE ROW LEVEL SECURITY",
        undo_sql=f"ALTER TABLE IF EXISTS {quoted} DISABLE ROW LEVEL SECURITY",
        needs=(Ref("policy", own_name(table), tenancy.policy),),
    )
