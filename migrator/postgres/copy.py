"""Sends encoded tuples into PostgreSQL by binary COPY."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from migrator.postgres import copy_format

Connection = psycopg.Connection[Any]


_ALL = sql.SQL("")


def copy(connection: Connection, table: sql.Composable, tuples: list[bytes], columns: sql.Composable = _ALL) -> None:
    """Sends encoded tuples into a table."""
    if not tuples:
        return
    statement = sql.SQL("COPY {}{} FROM STDIN (FORMAT BINARY)").format(table, columns)
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        stream.write(b"".join((copy_format.HEADER, *tuples, copy_format.TRAILER)))
