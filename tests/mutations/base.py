"""What all mutations use: the migrated database, its source and a random generator. The mutations are elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from psycopg import sql

from mappings import MAPPINGS
from migrator.postgres.column_kinds import kind_of_column

TENANT = "0190b5a0-0000-7000-8000-000000000001"
TABLES = {mapping.table.name: mapping for mapping in MAPPINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What `verify` must report: one of these checks fails and names row and column (prefixes) and the likely cause."""

    checks: tuple[str, ...]
    row: str
    column: str = ""
    fault: str = "target"


@dataclass(frozen=True, slots=True)
class MutationContext:
    """What one mutation may change: the database and `dump`, a copy of the source."""

    connection: psycopg.Connection[Any]
    dump: Path
    random: Random = field(repr=False)

    def run(self, statement: str, *values: Any, **names: str) -> list[tuple[Any, ...]]:
        """Execute a statement, in which `{name}` is an identifier, and return its rows."""
        query = sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()})
        cursor = self.connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def change_row(self, statement: str, *values: Any, **names: str) -> None:
        """Execute a statement that must change exactly one row."""
        query = sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()})
        changed = self.connection.execute(query, values).rowcount
        assert changed == 1, f"{changed} rows changed by {statement}"

    def pick_row(self, table: str, columns: str = "id::text", where: str = "true") -> tuple[Any, ...]:
        """Return values of a random row."""
        found = self.sample_rows(table, columns, where, 1)
        assert found, f"no row of {table} where {where}"
        return found[0]

    def sample_rows(self, table: str, columns: str, where: str, count: int) -> list[tuple[Any, ...]]:
        query = f"SELECT {columns} FROM {table} t WHERE {where} ORDER BY t::text"
        found = self.run(query.replace("{", "{{").replace("}", "}}"))
        return self.random.sample(found, min(count, len(found)))

    def pick_value(self, kind: str, where: str = "{column} IS NOT NULL") -> tuple[str, str, str]:
        """Return a random (table, column, row ID) of a kind of column, among rows that meet a condition."""
        every = [
            (name, column.name)
            for name, mapping in TABLES.items()
            for column in mapping.table.columns
            if kind_of(column) == kind and column.name not in {"id", "tenant_id"}
        ]
        for table, column in self.random.sample(every, len(every)):
            condition = where.replace("{column}", f't."{column}"')
            found = self.sample_rows(f'"{table}"', "t.id::text", condition, 1)
            if found:
                return table, column, found[0][0]
        raise AssertionError(f"no {kind} where {where}")


def kind_of(column: Any) -> str:
    return "enum" if type(column.type).__name__ == "ENUM" else kind_of_column(column)


Mutation = Callable[[MutationContext], Expectation]


def make_decorator(mutations: dict[str, Mutation]) -> Callable[[str], Callable[[Mutation], Mutation]]:
    """Return a decorator that registers a mutation under a name."""

    def named(name: str) -> Callable[[Mutation], Mutation]:
        def register(function: Mutation) -> Mutation:
            assert name not in mutations
            mutations[name] = function
            return function

        return register

    return named
