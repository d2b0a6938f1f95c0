"""Compiles SQLAlchemy metadata to statements: each creates one object and has an undo statement. Executes nothing.

Names of tables, enums and indexes include their schema, so that no statement can affect an object of another schema.
Types and operator classes of extensions (`vector`, `vector_cosine_ops`) do not, so the search_path of the session must
include their schema (`search_path.schemas_first`). Extensions are always created in `public`.

The metadata must have a name for every key, constraint and index (a naming convention is enough), and in
`metadata.info["extensions"]` the names of the extensions that it uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from sqlalchemy import ForeignKeyConstraint, MetaData, Table
from sqlalchemy.dialects.postgresql import DOMAIN, ENUM, CreateEnumType
from sqlalchemy.dialects.postgresql.named_types import CreateDomainType

from migrator.postgres.placement import original_schema, place_schema, placed_type
from migrator.postgres.statements import BEFORE_LOAD, KINDS, Ref, Statement
from migrator.postgres.table_ddl import PREPARER, TABLE_NAME, compile_ddl, table_statements, tenant_statements
from migrator.postgres.table_names import name_of, qualify
from migrator.postgres.tenancy import tenancy_of


@lru_cache(maxsize=16)
def statements(metadata: MetaData, rls: bool, schema: str = "public") -> tuple[Statement, ...]:
    """Return the statements that create everything in `metadata`, in the order of execution.

    They are compiled once per process: a run needs them six times, and compiling them takes 10 ms.

    Raises:
        UsageError: a constraint or index has no name, or a constraint is of an unsupported type.
    """
    tables = tables_in(metadata, schema)
    extensions = [extension_statement(name) for name in metadata.info.get("extensions", ())]
    schemas = schema_statements(tables, schema)
    types = [replace(each, needs=tuple(one.ref for one in schemas)) for each in type_statements(tables, schema)]
    base = (*schemas, *extensions, *types)
    made = [*base]
    tenancy = tenancy_of(metadata)
    for table in tables:
        made += table_statements(table, tuple(statement.ref for statement in base))
        if rls and tenancy is not None and tenancy.column in table.columns:
            made += tenant_statements(table, tenancy)
    return tuple(sorted(with_needs(made), key=lambda statement: KINDS.index(statement.kind)))


def render(metadata: MetaData, rls: bool, schema: str = "public") -> str:
    """Return the statements as a script for psql."""
    return "".join(f"{statement.sql};\n" for statement in statements(metadata, rls, schema))


def tables_in(metadata: MetaData, schema: str) -> list[Table]:
    """Copy the tables into `schema`; referenced tables come first. Compiling a constraint changes the copy only.

    Tables of other schemas than public are copied into schemas that `place_schema` names.
    """
    copies = MetaData()
    for table in metadata.sorted_tables:

        def refer(_: Table, target: str | None, constraint: ForeignKeyConstraint, referred: str | None) -> str | None:
            return place_schema(referred, schema)

        copied = table.to_metadata(copies, schema=place_schema(table.schema, schema), referred_schema_fn=refer)
        copied.info[TABLE_NAME] = name_of(table)
        for column in copied.columns:
            column.type = placed_type(table.columns[column.name].type, column.type, schema)
    return copies.sorted_tables


def schema_statements(tables: list[Table], schema: str) -> list[Statement]:
    """Return the statements that create the schemas of tables and types, apart from `schema`."""
    used = {str(table.schema) for table in tables}
    used |= {str(kind.schema) for kind in _named_types(tables)}
    return [
        Statement(
            kind="schema",
            table="",
            name=original_schema(name, schema),
            sql=f"CREATE SCHEMA IF NOT EXISTS {PREPARER.quote(name)}",
            undo_sql=f"DROP SCHEMA IF EXISTS {PREPARER.quote(name)}",
        )
        for name in sorted(used - {schema})
    ]


def extension_statement(name: str) -> Statement:
    """Return the statement that creates an extension in schema public."""
    quoted = PREPARER.quote(name)
    return Statement(
        kind="extension",
        table="",
        name=name,
        sql=f"CREATE EXTENSION IF NOT EXISTS {quoted} WITH SCHEMA public",
        undo_sql=f"DROP EXTENSION IF EXISTS {quoted}",
    )


def type_statements(tables: list[Table], schema: str) -> list[Statement]:
    """Return the statements that create the enums and domains of all columns, by name."""
    types = {qualify(original_schema(str(kind.schema), schema), str(kind.name)): kind for kind in _named_types(tables)}
    return [_type_statement(name, kind) for name, kind in sorted(types.items())]


def _named_types(tables: list[Table]) -> list[ENUM | DOMAIN]:
    return [each.type for table in tables for each in table.columns if isinstance(each.type, ENUM | DOMAIN)]


def _type_statement(name: str, kind: ENUM | DOMAIN) -> Statement:
    quoted = PREPARER.format_type(kind)
    if isinstance(kind, ENUM):
        text = compile_ddl(CreateEnumType(kind))
        return Statement(kind="enum", table="", name=name, sql=text, undo_sql=f"DROP TYPE IF EXISTS {quoted}")
    text = compile_ddl(CreateDomainType(kind))
    if kind.constraint_name is not None and kind.check is not None:  # SQLAlchemy gives its name to NOT NULL
        named = f"CONSTRAINT {PREPARER.quote(str(kind.constraint_name))}"
        text = text.replace(f"{named} NOT NULL", f"NOT NULL {named}")
    return Statement(kind="domain", table="", name=name, sql=text, undo_sql=f"DROP DOMAIN IF EXISTS {quoted}")


def with_needs(made: list[Statement]) -> Iterator[Statement]:
    """Add the dependencies of each statement: its table, the keys it references; for a vector index, all others."""
    for statement in made:
        yield replace(statement, needs=tuple(dict.fromkeys([*statement.needs, *dependencies(statement, made)])))


def dependencies(statement: Statement, made: list[Statement]) -> Iterator[Ref]:
    """Yield the objects that must exist before `statement`, of those in `made`."""
    if statement.table and statement.kind != "table":
        yield Ref("table", statement.table, statement.table)
    referenced = {need.table for need in statement.needs} if statement.kind == "foreign_key" else set()
    for other in made:
        key = other.kind in ("key", "unique", "unique_index") and other.table in referenced
        earlier = statement.kind == "vector_index" and other.kind not in BEFORE_LOAD and other.kind != "vector_index"
        if key or earlier:
            yield other.ref
