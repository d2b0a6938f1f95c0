"""The protocol of a target: a label, connections, psql. The statements of a migration are not here."""

from __future__ import annotations

from typing import Any, Protocol

import psycopg

OLDEST_VERSION = 14  # major version of PostgreSQL; older versions are not tested
Connection = psycopg.Connection[tuple[Any, ...]]


class Target(Protocol):
    """A PostgreSQL database to migrate into. All methods raise `TargetError`."""

    @property
    def label(self) -> str:
        """The name for output, without secrets."""

    @property
    def dsn(self) -> str:
        """The libpq connection string with the password: for worker processes, never for output."""

    def connect(self) -> Connection:
        """Return a new connection: autocommit, UTC, UTF-8, without the timeouts of the role or database."""
        ...

    def psql_command(self) -> list[str]:
        """Return the command line that opens psql on this database, without a password (see `psql_environment`)."""
        ...

    def psql_environment(self) -> dict[str, str]:
        """Return the environment variables that `psql_command` needs: the password, if there is one."""
        ...

    def close(self) -> None:
        """Stop what this target has started, and end its kept sessions. A second call has no effect."""
