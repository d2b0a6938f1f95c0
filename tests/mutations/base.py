"""What a mutation works with: the migrated database, the dump it came from, and chance. No mutation is here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from mappings import MAPPINGS
from migrator.postgres.copy_format import kind_of_column

TENANT = "0190b5a0-0000-7000-8000-000000000001"
TABLES = {mapping.table.name: mapping for mapping in MAPPINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What `verify` must say: one of these checks fails, and names row and column (as they begin) and the fault."""

    checks: tuple[str, ...]
    row: str
    column: str = ""
    fault: str = "target"


@dataclass(frozen=True, slots=True)
class Bench:
    """One corruption's place. `dump` is the folder of the source, its own to change."""

    connection: psycopg.Connection[Any]
    dump: Path
    chance: random.Random = field(repr=False)

    def run(self, statement: str, *values: Any, **names: str) -> list[tuple[Any, ...]]:
        """Executes a statement; `{name}` in it are identifiers."""
        query = sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()})
        cursor = self.connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def change(self, statement: str, *values: Any, **names: str) -> None:
        """The same for a statement that must change exactly one row."""
        query = sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()})
        changed = self.connection.execute(query, values).rowcount
        assert changed == 1, f"{changed} rows changed by {statement}"

    def pick(self, table: str, columns: str = "id::text", where: str = "true") -> tuple[Any, ...]:
        """Values of a random row, its own tenant's."""
        found = self.some(table, columns, where, 1)
        assert found, f"no row of {table} where {where}"
        return found[0]

    def some(self, table: str, columns: str, where: str, count: int) -> list[tuple[Any, ...]]:
        query = f"SELECT {columns} FROM {table} t WHERE {where} ORDER BY t::text"
        found = self.run(query.replace("{", "{{").replace("}", "}}"))
        return self.chance.sample(found, min(count, len(found)))

    def column(self, kind: str, where: str = "{column} IS NOT NULL") -> tuple[str, str, str]:
        """A random (table, column, id of a row) of a kind, of those with rows where `where` holds."""
        every = [
            (name, column.name)
            for name, mapping in TABLES.items()
            for column in mapping.table.columns
            if kind_of(column) == kind and column.name not in {"id", "tenant_id"}
        ]
        for table, column in self.chance.sample(every, len(every)):
            condition = where.replace("{column}", f't."{column}"')
            found = self.some(f'"{table}"', "t.id::text", condition, 1)
            if found:
                return table, column, found[0][0]
        raise AssertionError(f"no {kind} where {where}")


def kind_of(column: Any) -> str:
    return "enum" if type(column.type).__name__ == "ENUM" else kind_of_column(column)


Kind = Callable[[Bench], Planted]
Kinds = Mapping[str, Kind]


def table_of(kinds: dict[str, Kind]) -> Callable[[str], Callable[[Kind], Kind]]:
    """A decorator that enters a mutation under its name."""

    def named(name: str) -> Callable[[Kind], Kind]:
        def enter(kind: Kind) -> Kind:
            assert name not in kinds
            kinds[name] = kind
            return kind

        return enter

    return named
