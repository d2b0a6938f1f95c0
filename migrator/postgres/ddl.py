"""SQLAlchemy metadata → the statements that build it, each beside the one that takes it back. Pure, nothing is run.

Tables, enums and indexes are written with their schema, so that no statement can hit a namesake of another schema; an
extension's types and operator classes (`vector`, `vector_cosine_ops`) are not, so the session's search_path has to find
them (`catalog.use_schema` sees to it). Extensions are always made in `public`.

What the metadata has to bring: a name for every key, constraint and index (a naming convention will do), and in
`metadata.info["extensions"]` the names of the extensions that its types come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from sqlalchemy.dialects.postgresql import ENUM, CreateEnumType
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, ExecutableDDLElement

from migrator.errors import UsageError

# In the order in which they are executed. Up to `unique_index` it is what a load needs: no COPY may bring an id twice.
# Row security comes first of the rest: it takes no time, and nobody should read across tenants while indexes build;
# the policy before the switch, for without one nobody but the owner reads anything.
# A vector index comes last of all: it is trained on the rows, and it alone can use every core.
# No statement makes a schema; the records of `objects` know that kind, too.
Kind = Literal[
    "schema",
    "extension",
    "enum",
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
VECTOR_INDEX_METHODS = frozenset({"ivfflat", "hnsw"})  # access methods of vector indexes

TENANT_COLUMN = "tenant_id"
TENANT_SETTING = "app.current_tenant_id"
POLICY = "tenant_isolation"
# A session that names no tenant sees no rows, and no error: an unset variable is NULL, a reset one is ''.
OWN_TENANT = f"{TENANT_COLUMN} = nullif(current_setting('{TENANT_SETTING}', true), '')::uuid"

# With `named`, SQLAlchemy leaves a % as it is; the statements are executed without parameters.
DIALECT: Any = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy has not typed it
PREPARER: Any = DIALECT.identifier_preparer


class Ref(NamedTuple):
    """What a statement makes. `table` is '' for extensions and enums. Constraints are unique by table alone."""

    kind: Kind
    table: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One object: `sql` makes it, `undo_sql` drops it where it still is there. `needs` must have been made before.

    `method` is the access method of an index, '' for everything else.
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


def statements(metadata: MetaData, rls: bool, schema: str = "public") -> list[Statement]:
    """Everything that `metadata` is made of, in the order in which it is built. Errors: `UsageError` (no name)."""
    tables = tables_in(metadata, schema)
    extensions = [extension_statement(name) for name in metadata.info.get("extensions", ())]
    enums = enum_statements(tables)
    base = (*extensions, *enums)
    made = [*base]
    for table in tables:
        made += table_statements(table, tuple(statement.ref for statement in base))
        if rls and TENANT_COLUMN in table.columns:
            made += tenant_statements(table)
    return sorted(with_needs(made), key=lambda statement: KINDS.index(statement.kind))


def render(metadata: MetaData, rls: bool, schema: str = "public") -> str:
    """The same as a script for psql."""
    return "".join(f"{statement.sql};\n" for statement in statements(metadata, rls, schema))


def tables_in(metadata: MetaData, schema: str) -> list[Table]:
    """Copies in `schema`, referenced before referencing. Copies, because compiling a constraint marks its table."""
    copies = MetaData()
    for table in metadata.sorted_tables:
        for column in table.to_metadata(copies, schema=schema).columns:
            if isinstance(column.type, ENUM):
                # Which schema an enum is copied into differs between SQLAlchemy 2.0 and 2.1.
                column.type = ENUM(*column.type.enums, name=column.type.name, schema=schema)
    return copies.sorted_tables


def extension_statement(name: str) -> Statement:
    quoted = PREPARER.quote(name)
    return Statement(
        kind="extension",
        table="",
        name=name,
        sql=f"CREATE EXTENSION IF NOT EXISTS {quoted} WITH SCHEMA public",
        undo_sql=f"DROP EXTENSION IF EXISTS {quoted}",
    )


def enum_statements(tables: list[Table]) -> list[Statement]:
    columns = (column for table in tables for column in table.columns)
    types = {column.type.name: column.type for column in columns if isinstance(column.type, ENUM)}
    return [
        Statement(
            kind="enum",
            table="",
            name=str(name),
            sql=compiled(CreateEnumType(kind)),
            undo_sql=f"DROP TYPE IF EXISTS {PREPARER.format_type(kind)}",
        )
        for name, kind in sorted(types.items())
    ]


def table_statements(table: Table, base: tuple[Ref, ...]) -> Iterator[Statement]:
    """The bare table, then its constraints and indexes by name (SQLAlchemy keeps them in sets)."""
    parts = [constraint_statement(table, constraint) for constraint in table.constraints if has_columns(constraint)]
    parts += [index_statement(table, index) for index in table.indexes]
    yield Statement(
        kind="table",
        table=table.name,
        name=table.name,
        # Last, because AddConstraint has taken the constraints out of the table by now.
        sql=compiled(CreateTable(table)),
        undo_sql=f"DROP TABLE IF EXISTS {PREPARER.format_table(table)}",
        needs=base,
    )
    yield from sorted(parts, key=lambda statement: statement.name)


def has_columns(constraint: Constraint) -> bool:
    """False for the empty primary key that SQLAlchemy gives a table without one."""
    return not isinstance(constraint, PrimaryKeyConstraint) or bool(constraint.columns)


def constraint_statement(table: Table, constraint: Constraint) -> Statement:
    name, quoted = named(table, constraint), PREPARER.format_table(table)
    return Statement(
        kind=constraint_kind(table, constraint),
        table=table.name,
        name=name,
        sql=compiled(AddConstraint(constraint)),
        undo_sql=f"ALTER TABLE IF EXISTS {quoted} DROP CONSTRAINT IF EXISTS {PREPARER.quote(name)}",
        needs=referenced(constraint),
    )


def constraint_kind(table: Table, constraint: Constraint) -> Kind:
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
        f"table {table.name}: constraints of type {type(constraint).__name__} are not supported",
        hint="Use primary keys, unique, check and foreign key constraints.",
    )


def referenced(constraint: Constraint) -> tuple[Ref, ...]:
    """The table a foreign key points to; `with_needs` adds that table's keys."""
    if not isinstance(constraint, ForeignKeyConstraint):
        return ()
    other = constraint.referred_table.name
    return (Ref("table", other, other),)


def index_statement(table: Table, index: Index) -> Statement:
    method = index.dialect_options["postgresql"]["using"] or "btree"
    plain: Kind = "vector_index" if method in VECTOR_INDEX_METHODS else "index"
    name = named(table, index)
    return Statement(
        kind="unique_index" if index.unique else plain,
        table=table.name,
        name=name,
        sql=compiled(CreateIndex(index)),
        undo_sql=f"DROP INDEX IF EXISTS {PREPARER.quote_schema(table.schema)}.{PREPARER.quote(name)}",
        method=method,
    )


def named(table: Table, item: Constraint | Index) -> str:
    if isinstance(item.name, str):
        return str(item.name)
    raise UsageError(
        f"table {table.name}: a {type(item).__name__} has no name",
        hint="Name it, or give the MetaData a naming_convention: what has no name can neither be compared nor dropped.",
    )


def tenant_statements(table: Table) -> Iterator[Statement]:
    quoted, policy = PREPARER.format_table(table), PREPARER.quote(POLICY)
    yield Statement(
        kind="policy",
        table=table.name,
        name=POLICY,
        sql=f"CREATE POLICY {policy} ON {quoted} USING ({OWN_TENANT})",
        undo_sql=f"DROP POLICY IF EXISTS {policy} ON {quoted}",
    )
    yield Statement(
        kind="row_security",
        table=table.name,
        name=table.name,
        sql=f"ALTER TABLE {quoted} ENABLE ROW LEVEL SECURITY",
        undo_sql=f"ALTER TABLE IF EXISTS {quoted} DISABLE ROW LEVEL SECURITY",
        needs=(Ref("policy", table.name, POLICY),),
    )


def with_needs(made: list[Statement]) -> Iterator[Statement]:
    """Adds what each needs of the others: its table, the keys it points to, and a vector index all the rest."""
    for statement in made:
        yield replace(statement, needs=tuple(dict.fromkeys([*statement.needs, *needed(statement, made)])))


def needed(statement: Statement, made: list[Statement]) -> Iterator[Ref]:
    if statement.table and statement.kind != "table":
        yield Ref("table", statement.table, statement.table)
    pointed = {need.table for need in statement.needs} if statement.kind == "foreign_key" else set()
    for other in made:
        key = other.kind in ("key", "unique", "unique_index") and other.table in pointed
        earlier = statement.kind == "vector_index" and other.kind not in BEFORE_LOAD and other.kind != "vector_index"
        if key or earlier:
            yield other.ref


def compiled(element: ExecutableDDLElement) -> str:
    return str(element.compile(dialect=DIALECT)).strip()
