"""The objects that the target's owner added to the tables of the migration, read from pg_catalog.

Triggers, rules, indexes and constraints that the schema of the migration does not declare. What they mean for a
migration is decided elsewhere: `owner_checks` (blockers and warnings), `owner_copies` (copies for a rehearsal).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import MetaData

from migrator.postgres import ddl
from migrator.postgres.catalog import load_queries
from migrator.postgres.search_path import search_path
from migrator.postgres.table_names import PUBLIC, name_of, split_name

Connection = psycopg.Connection[Any]
QUERIES = load_queries("owner_objects.sql")
ORIGIN = "O"  # fires unless session_replication_role is replica
_WORD = re.compile(r"\w+")
REPLICA = sql.SQL("SET LOCAL session_replication_role = replica")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerTrigger:
    """A trigger or rule that fires on INSERT, UPDATE or DELETE. `enabled`: O (origin), A (always), R (replica)."""

    kind: str
    table: str
    name: str
    enabled: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.table}"

    @property
    def disable(self) -> str:
        """The statement that disables it."""
        statement = sql.SQL(f"ALTER TABLE {{}} DISABLE {self.kind.upper()} {{}};")
        schema, table = split_name(self.table)
        named = sql.Identifier(table) if schema == PUBLIC else sql.Identifier(schema, table)
        return statement.format(named, sql.Identifier(self.name)).as_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerConstraint:
    """An index or constraint that can refuse a row. `definition`: the statement that creates it.

    `type`: i (index), u (unique), c (check), x (exclusion) or f (foreign key). `internal`: whether PostgreSQL enforces
    it with internal triggers. `relation`: the table with its schema; `parent`: the table that a foreign key refers to.
    """

    kind: str
    table: str
    name: str
    definition: str
    type: str
    internal: bool
    relation: str
    parent: str | None
    columns: tuple[str, ...]

    @property
    def own(self) -> bool:
        """Whether it is a foreign key to its own table."""
        return self.parent == self.relation

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.table}"


def read_triggers(connection: Connection, tables: Sequence[str]) -> list[OwnerTrigger]:
    """Return the triggers and rules of these tables that fire when rows are written."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [OwnerTrigger(**row) for row in cursor.execute(QUERIES["triggers"], {"tables": list(tables)})]


def read_constraints(connection: Connection, metadata: MetaData) -> list[OwnerConstraint]:
    """Return the indexes and constraints of the tables of `metadata` that it does not declare.

    Every name in a definition has its schema.
    """
    declared = {(each.table, each.name) for each in ddl.statements(metadata, rls=False)}
    values = {"tables": [name_of(table) for table in metadata.sorted_tables]}
    found: list[OwnerConstraint] = []
    with connection.transaction(), search_path(connection, []), connection.cursor(row_factory=dict_row) as cursor:
        for name in ("constraints", "indexes"):
            for row in cursor.execute(QUERIES[name], values).fetchall():
                found.append(OwnerConstraint(**{**row, "columns": tuple(row["columns"])}))
    return [each for each in found if (each.table, each.name) not in declared]


def read_columns(connection: Connection, metadata: MetaData) -> list[tuple[str, str, str]]:
    """Return the columns that `metadata` does not declare: table, name, the statement that adds it."""
    values = {"tables": [name_of(table) for table in metadata.sorted_tables]}
    with connection.transaction(), search_path(connection, []):
        found = connection.execute(QUERIES["columns"], values).fetchall()
    return [(table, name, statement) for table, name, statement in found if name not in metadata.tables[table].c]


def has_expressions(connection: Connection, metadata: MetaData, table: str) -> bool:
    """Return whether an index, a constraint or a column of the owner can compute an expression for rows of a table."""
    found = [*(each.table for each in read_constraints(connection, metadata))]
    return table in [*found, *(name for name, _, _ in read_columns(connection, metadata))]


def read_rows(connection: Connection, query: str, tables: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a query of `owner_objects.sql` about these tables finds."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES[query], {"tables": list(tables)}).fetchall()


def find_unrepeatable(connection: Connection, tables: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return the constraints, indexes and columns whose functions need what a rehearsal lacks.

    (table, name) → name of the function.

    The body of such a function contains the name of a table, of a type or function that is not copied, or of another
    such function.
    """
    used, bodies = read_rows(connection, "functions_used", tables), read_rows(connection, "function_bodies", ())
    words = {row[0] for row in connection.execute(QUERIES["names_not_copied"])} if used else set()
    reading: dict[int, str] = {}
    while used:
        found = {
            each["function"]: each["name"]
            for each in bodies
            if each["function"] not in reading and not words.isdisjoint(_WORD.findall(each["body"]))
        }
        if not found:
            break
        reading |= found
        words = set(found.values())
    return {(each["table"], each["name"]): reading[each["function"]] for each in used if each["function"] in reading}


def read_names(connection: Connection, query: str) -> list[str]:
    """Return the names that a query of `owner_objects.sql` finds."""
    return [row[0] for row in connection.execute(QUERIES[query])]


def may_suspend_triggers(connection: Connection) -> bool:
    """Return whether the role may set session_replication_role, which suspends triggers and rules."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(REPLICA)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True
