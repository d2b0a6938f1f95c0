"""Sends encoded tuples to PostgreSQL with binary COPY. Their encoding is in `copy_format.py`."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from migrator.postgres import copy_format

Connection = psycopg.Connection[Any]


_ALL = sql.SQL("")


def copy(connection: Connection, table: sql.Composable, tuples: list[bytes], columns: sql.Composable = _ALL) -> None:
    """Copy encoded tuples into a table. `columns` is a column list in parentheses; by default all columns."""
    if not tuples:
        return
    statement = sql.SQL("COPY {}{} FROM STDIN (FORMAT BINARY)").format(table, columns)
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        stream.write(b"".join((copy_format.HEADER, *tuples, copy_format.TRAILER)))
