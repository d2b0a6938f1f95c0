"""Runs statements as another role, for checks of row-level security."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from migrator.postgres.table_names import split_name

Connection = psycopg.Connection[Any]


@contextmanager
def act_as_reader(connection: Connection, schema: str, tables: Iterable[str]) -> Iterator[None]:
    """Run the block as a new role that may SELECT from `tables` and nothing else. `schema`: that of the namespace.

    The transaction of the block is rolled back, which removes the role. Inside an open transaction the rollback is to
    a savepoint. The name of the role is random, because roles belong to the whole server.

    Raises:
        psycopg.errors.InsufficientPrivilege: the session's role lacks CREATEROLE or may not grant SELECT.
    """
    role = sql.Identifier(f"migrate_reader_{secrets.token_hex(6)}")
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
        places = [split_name(table, schema) for table in tables]
        for name in sorted({schema, *(place for place, _ in places)}):
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(name), role))
        for place in places:
            connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(*place), role))
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
        yield
