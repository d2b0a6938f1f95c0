"""What a target is to the engine: a name, a way to connect, a psql. No statement of any migration is here."""

from __future__ import annotations

from typing import Any, Protocol

import psycopg

OLDEST_VERSION = 14  # PostgreSQL's major version; what older ones lack was never tried
Connection = psycopg.Connection[tuple[Any, ...]]


class Target(Protocol):
    """A PostgreSQL database to migrate into. Errors: `TargetError`."""

    @property
    def label(self) -> str:
        """How to name it in output: no secrets."""

    @property
    def dsn(self) -> str:
        """libpq's connection string, password included: for worker processes, never for output."""

    def connect(self) -> Connection:
        """A new connection: autocommit, UTC, UTF-8, no timeouts of the role's or database's own."""
        ...

    def psql_command(self) -> list[str]:
        """The command line that opens psql here, without any password (see `psql_environment`)."""
        ...

    def psql_environment(self) -> dict[str, str]:
        """What to add to the environment of `psql_command`: the password, where there is one."""
        ...

    def close(self) -> None:
        """Ends what this target keeps running. Twice does no harm."""
