"""Reads a schema of the target from pg_catalog, and the expected schema, as frozen values.

Definitions are compared as PostgreSQL renders them. Therefore the expected schema is created on the same server, in a
scratch schema of a transaction that is rolled back. The comparison is in `catalog_diff.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from migrator.errors import TargetError
from migrator.postgres import ddl, schema_changes
from migrator.postgres.placement import place_schema, schemas_in
from migrator.postgres.privileges import require_create, suggest_grants
from migrator.postgres.search_path import Record, create_objects, render
from migrator.postgres.statements import Statement
from migrator.postgres.table_names import PUBLIC, catalog_query, qualify, schema_of

Connection = psycopg.Connection[Any]

SCRATCH_SCHEMA = "migrator_expected"
_RENDERED = ("definition", "type", "default", "using", "check")  # columns of results that contain names


def load_queries(file: str) -> dict[str, str]:
    """Return the queries of a file in migrator/sql by name. Each follows a line `-- name: NAME`."""
    parts = files("migrator.sql").joinpath(file).read_text(encoding="utf-8").split("-- name:")[1:]
    return {name.strip(): catalog_query(text) for name, _, text in (part.partition("\n") for part in parts)}


QUERIES = load_queries("catalog.sql")
DEFERRABLE = " DEFERRABLE"  # at the end of the definition of a key while changes are applied


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. `type` is rendered by format_type, with COLLATE if it is not the default of the type.

    `position` counts from 1.
    """

    name: str
    type: str
    not_null: bool
    default: str | None
    position: int

    def __str__(self) -> str:
        default = f" DEFAULT {self.default}" if self.default is not None else ""
        return f"{self.type}{default}{' NOT NULL' if self.not_null else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A constraint. `kind` is the letter of pg_constraint: p, u, f, c or x. `definition` never contains NOT VALID."""

    table: str
    name: str
    kind: str
    definition: str
    validated: bool

    def __str__(self) -> str:
        return self.definition + ("" if self.validated else " NOT VALID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index without a constraint. `valid` is False after a failed CREATE INDEX CONCURRENTLY."""

    table: str
    name: str
    definition: str
    unique: bool
    valid: bool

    def __str__(self) -> str:
        return self.definition + ("" if self.valid else " (invalid)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A row-level-security policy. `using` and `check` are rendered expressions."""

    table: str
    name: str
    command: str
    roles: tuple[str, ...]
    permissive: bool
    using: str | None
    check: str | None

    def __str__(self) -> str:
        mode = "permissive" if self.permissive else "restrictive"
        return f"{mode} for {self.command} to {', '.join(self.roles)} using {self.using} with check {self.check}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table. `kind` is 'table', or the kind of the relation: 'view', 'partitioned table', 'unlogged table' …"""

    name: str
    kind: str
    row_security: bool
    forced: bool
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The read `schemas`. Tables, indexes, enums (their labels) and domains (their definitions) by name; constraints
    and policies by (table, name).

    Names of objects of other schemas than public begin with the schema, as those of tables (`table_names.py`).

    `relations` and `types` map every name in use to the kind of its object. `extensions` maps the extensions of the
    database to their schemas.
    """

    tables: Mapping[str, Table]
    constraints: Mapping[tuple[str, str], Constraint]
    indexes: Mapping[str, Index]
    enums: Mapping[str, tuple[str, ...]]
    domains: Mapping[str, str]
    policies: Mapping[tuple[str, str], Policy]
    relations: Mapping[str, str]
    types: Mapping[str, str]
    extensions: Mapping[str, str]
    schemas: frozenset[str] = frozenset({PUBLIC})

    def index(self, table: str, name: str) -> Index | None:
        """Return an index by its table and its own name."""
        return self.indexes.get(qualify(schema_of(table), name))

    def has(self, statement: Statement) -> bool:
        """Return whether an object with the name that `statement` creates exists."""
        table, name = statement.table, statement.name
        match statement.kind:
            case "schema":
                return name in self.schemas
            case "extension":
                return name in self.extensions
            case "enum":
                return name in self.enums
            case "domain":
                return name in self.domains
            case "table":
                return name in self.tables
            case "policy":
                return (table, name) in self.policies
            case "row_security":
                return table in self.tables and self.tables[table].row_security
            case "unique_index" | "index" | "vector_index":
                return self.index(table, name) is not None
        return (table, name) in self.constraints


def read(connection: Connection, schemas: Sequence[str] = (PUBLIC,), placed_in: str = PUBLIC) -> Catalog:
    """Read some schemas. Those apart from public may be missing. `placed_in`: as `ddl.statements` placed them.

    Raises:
        TargetError: schema public (or what is in its place) does not exist.
    """
    places = {place_schema(schema, placed_in): schema for schema in schemas}
    query = "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)"
    there = {name for (name,) in connection.execute(query, (list(places),))}
    if placed_in not in there and placed_in in places:
        raise TargetError(f"the target has no schema {placed_in}", hint=f"Run CREATE SCHEMA {placed_in};")
    found = [
        _read_schema(connection, placed, own, {each: places[each] for each in places if each != placed})
        for placed, own in places.items()
        if placed in there
    ]
    constraints = (each for one in found for each in one.constraints.values())
    return Catalog(
        tables=_merge(one.tables for one in found),
        constraints=_without_deferral(connection, constraints),
        indexes=_merge(one.indexes for one in found),
        enums=_merge(one.enums for one in found),
        domains=_merge(one.domains for one in found),
        policies=_merge(one.policies for one in found),
        relations=_merge(one.relations for one in found),
        types=_merge(one.types for one in found),
        extensions=_merge(one.extensions for one in found),
        schemas=frozenset(places[each] for each in there),
    )


def _merge(parts: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    return {key: value for part in parts for key, value in part.items()}


def _read_schema(connection: Connection, placed: str, own: str, others: Mapping[str, str]) -> Catalog:
    """Read the schema `placed`, with the names that its objects have in the schema `own`. `others`: the same of other
    schemas, which definitions may name."""
    with connection.transaction():
        quoted = sql.Identifier(placed).as_string(connection)
        found = render(connection, QUERIES, {"schema": quoted}, [placed, *others])
        query = "SELECT quote_ident(a), quote_ident(b) FROM unnest(%s::text[], %s::text[]) AS o (a, b) WHERE a <> b"
        renamed = dict(connection.execute(query, (list(others), list(others.values()))).fetchall())
    for records in found.values():
        for record in records:
            record.update({key: _rename(value, renamed) for key, value in record.items() if key in _RENDERED})
            record.update({key: qualify(own, record[key]) for key in ("table",) if key in record})

    def name(record: Record) -> str:
        return qualify(own, record["name"])

    return Catalog(
        tables={name(each): table_from({**each, "name": name(each)}, found["columns"]) for each in found["tables"]},
        constraints={(each["table"], each["name"]): Constraint(**each) for each in found["constraints"]},
        indexes={name(each): Index(**each) for each in found["indexes"]},
        enums={name(each): tuple(each["labels"]) for each in found["enums"]},
        domains={name(each): each["definition"] for each in found["domains"]},
        policies={(each["table"], each["name"]): policy_from(each) for each in found["policies"]},
        relations={name(each): each["bearer"] for each in found["relations"]},
        types={name(each): each["bearer"] for each in found["types"]},
        extensions={each["name"]: each["bearer"] for each in found["extensions"]},
        schemas=frozenset({own}),
    )


def _rename(text: Any, renamed: Mapping[str, str]) -> Any:
    """Replace the names of schemas in a definition: they are followed by a dot."""
    for there, name in renamed.items() if isinstance(text, str) else ():
        text = text.replace(f"{there}.", f"{name}.")
    return text


def _without_deferral(connection: Connection, found: Iterable[Constraint]) -> dict[tuple[str, str], Constraint]:
    """Return constraints as they are when nothing is followed: `follow` makes some deferrable, and restores them."""
    constraints = {(each.table, each.name): each for each in found}
    if any(each.definition.endswith(DEFERRABLE) for each in constraints.values()):
        for key in schema_changes.deferrable_keys(connection) & constraints.keys():
            definition = constraints[key].definition.removesuffix(DEFERRABLE)
            constraints[key] = replace(constraints[key], definition=definition)
    return constraints


def table_from(record: Record, columns: list[Record]) -> Table:
    own = (column for column in columns if column["table"] == record["name"])
    return Table(**record, columns=tuple(column_from(column) for column in own))


def column_from(record: Record) -> Column:
    return Column(**{key: value for key, value in record.items() if key != "table"})


def policy_from(record: Record) -> Policy:
    return Policy(**{**record, "roles": tuple(record["roles"])})


def read_expected(connection: Connection, metadata: MetaData, rls: bool) -> Catalog:
    """Return the schema that `metadata` defines, as this server renders it.

    Raises:
        TargetError: the role may not create objects, or the server is read-only.
    """
    try:
        with connection.transaction(force_rollback=True):
            require_create(connection, metadata.info.get("extensions", ()), schemas_in(metadata))
            return build_expected(connection, metadata, rls)
    except psycopg.errors.InsufficientPrivilege as error:
        raise TargetError(
            f"the target role may not create the objects of the migration: {error.diag.message_primary}",
            hint=suggest_grants(connection),
        ) from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise TargetError("the target is read-only", hint="Connect to the primary server.") from error


def build_expected(connection: Connection, metadata: MetaData, rls: bool) -> Catalog:
    """Create the expected schema and read it. The caller rolls the transaction back."""
    # Suppress the NOTICE about an ivfflat index on an empty table.
    connection.execute("SET LOCAL client_min_messages = warning")
    statements = ddl.statements(metadata, rls, SCRATCH_SCHEMA)
    install_extensions(connection, [statement for statement in statements if statement.kind == "extension"])
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCRATCH_SCHEMA)))
    create_objects(connection, [statement.sql for statement in statements], metadata.info.get("extensions", ()))
    return read(connection, schemas_in(metadata), SCRATCH_SCHEMA)


def install_extensions(connection: Connection, extensions: list[Statement]) -> None:
    """Create the missing extensions.

    Raises:
        TargetError: an extension is not available on the server.
    """
    for extension in extensions:
        available = "SELECT FROM pg_available_extensions WHERE name = %s"
        if connection.execute(available, (extension.name,)).fetchone() is None:
            raise TargetError(
                f"the extension {extension.name} is not available on the target server",
                hint="Install it. pgvector: apt install postgresql-18-pgvector, brew install pgvector, or the image"
                " pgvector/pgvector:pg18. On a managed server, enable it in the list of extensions.",
            )
        connection.execute(extension.sql)
