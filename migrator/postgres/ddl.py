"""Compiles SQLAlchemy metadata to statements: each creates one object and has an undo statement. Executes nothing.

Names of tables, enums and indexes include their schema, so that no statement can affect an object of another schema.
Types and operator classes of extensions (`vector`, `vector_cosine_ops`) do not, so the search_path of the session must
include their schema (`search_path.schemas_first`). Extensions are always created in `public`.

The metadata must have a name for every key, constraint and index (a naming convention is enough), and in
`metadata.info["extensions"]` the names of the extensions that it uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import (
    CheckConstraint,
    Constraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import DOMAIN, ENUM, CreateEnumType
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.postgresql.named_types import CreateDomainType
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, ExecutableDDLElement

from migrator.errors import UsageError
from migrator.postgres.placement import original_schema, place_schema, placed_type
from migrator.postgres.table_names import name_of, qualify
from migrator.postgres.tenancy import Tenancy, tenancy_of

# In the order of execution. A load needs the kinds up to `unique_index`: without them, COPY could load an ID twice.
# Row-level security follows: it takes no time, and no user should read rows of other tenants while indexes are built.
# The policy comes before it is enabled: without a policy, only the owner can read the rows.
# A vector index comes last: it is trained on the rows, and its build can use all cores.
# `schema_changes` also records schema `migrator`, which no statement here creates.
Kind = Literal[
    "schema",
    "extension",
    "enum",
    "domain",
    "table",
    "key",
    "unique",
    "check",
    "unique_index",
    "policy",
    "row_security",
    "index",
    "foreign_key",
    "vector_index",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
BEFORE_LOAD = frozenset(KINDS[: KINDS.index("policy")])
_NAME = "migrate_name"  # in the `info` of a copied table: the name of the table
VECTOR_INDEX_METHODS = frozenset({"ivfflat", "hnsw"})  # access methods

# With paramstyle `named`, SQLAlchemy does not double a %. The statements are executed without parameters.
DIALECT: Any = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy
PREPARER: Any = DIALECT.identifier_preparer


class Ref(NamedTuple):
    """Identifies an object. `table` is '' for schemas, extensions and types.

    Names of constraints are unique per table only.
    """

    kind: Kind
    table: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One object: `sql` creates it, `undo_sql` drops it if it exists. The objects in `needs` must be created before.

    `method` is the access method of an index, '' for other kinds.
    """

    kind: Kind
    table: str
    name: str
    sql: str
    undo_sql: str
    needs: tuple[Ref, ...] = ()
    method: str = ""

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.table, self.name)

    @property
    def before_load(self) -> bool:
        return self.kind in BEFORE_LOAD


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
        copied.info[_NAME] = name_of(table)
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


def own_name(table: Table) -> str:
    """Return the name of the table that `tables_in` has copied."""
    return str(table.info[_NAME])


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
    return Statement(
        kind=constraint_kind(table, constraint),
        table=own_name(table),
        name=name,
        sql=compile_ddl(AddConstraint(constraint)),
        undo_sql=f"ALTER TABLE IF EXISTS {quoted} DROP CONSTRAINT IF EXISTS {PREPARER.quote(name)}",
        needs=referenced_tables(constraint),
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


def compile_ddl(element: ExecutableDDLElement) -> str:
    return str(element.compile(dialect=DIALECT)).strip()
