"""A PostgreSQL server on which a test creates databases, roles and tablespaces of its own."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import with_database


@dataclass(frozen=True)
class Server:
    """What a case may change: a database with a name of its own, roles, poolers. All goes with the test."""

    url: str
    exits: ExitStack

    def execute(self, *statements: str, database: str = "") -> None:
        url = with_database(self.url, database) if database else self.url
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def create(self, options: str = "", suffix: str = "") -> str:
        """A new database; returns its name, which ends with `suffix`."""
        name = f"check_{secrets.token_hex(4)}{suffix}"
        self.execute(f"CREATE DATABASE {quoted(name)} STRATEGY file_copy {options}")
        self.exits.callback(self.execute, f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")
        return name

    def role(self, database: str, options: str = "", suffix: str = "") -> str:
        """A new role that may do everything in the database; returns its name, which ends with `suffix`."""
        name = f"check_{secrets.token_hex(4)}{suffix}"
        role = quoted(name)
        self.execute(f"CREATE ROLE {role} LOGIN {options}")
        self.exits.callback(self.execute, f"DROP ROLE {role}")
        self.execute(f"GRANT ALL ON DATABASE {quoted(database)} TO {role}")
        self.execute(
            f"GRANT ALL ON SCHEMA public TO {role}", "CREATE EXTENSION IF NOT EXISTS vector", database=database
        )
        self.exits.callback(self.execute, f"DROP OWNED BY {role} CASCADE", database=database)
        return name

    def tablespace(self) -> str:
        """A new tablespace inside the data folder; returns its name."""
        name = f"check_{secrets.token_hex(4)}"
        self.execute("SET allow_in_place_tablespaces = on", f"CREATE TABLESPACE {name} LOCATION ''")
        self.exits.callback(self.execute, f"DROP TABLESPACE {name}")
        return name

    def url_of(self, database: str, user: str = "") -> str:
        parts: dict[str, Any] = dict(conninfo_to_dict(with_database(self.url, database)))
        return make_url({**parts, **({"user": user} if user else {})})


def quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def make_url(parts: dict[str, Any]) -> str:
    """A URL, because target.url must be one; the socket folder goes into a parameter."""
    host = parts.get("host", "")
    port = f"&port={parts['port']}" if parts.get("port") else ""
    name, user = (quote(parts[key], safe="") for key in ("dbname", "user"))
    return f"postgresql:///{name}?host={host}{port}&user={user}"
