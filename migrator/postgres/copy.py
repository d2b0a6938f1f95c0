"""Sends encoded tuples to PostgreSQL with binary COPY. Their encoding is in `copy_format.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import psycopg
from psycopg import sql

from migrator.postgres import copy_format, native

Connection = psycopg.Connection[Any]


_ALL = sql.SQL("")
SENT_TUPLES = 128  # together: about 100 kB, for which malloc reuses the same memory; psycopg splits larger pieces


def copy(connection: Connection, table: sql.Composable, tuples: list[bytes], columns: sql.Composable = _ALL) -> None:
    """Copy encoded tuples into a table. `columns` is a column list in parentheses; by default all columns."""
    if not tuples:
        return
    statement = sql.SQL("COPY {}{} FROM STDIN (FORMAT BINARY)").format(table, columns)
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        stream.write(copy_format.HEADER)
        for start in range(0, len(tuples), SENT_TUPLES):
            stream.write(b"".join(tuples[start : start + SENT_TUPLES]))
        stream.write(copy_format.TRAILER)


def read_rows(connection: Connection, stream: psycopg.Copy) -> Iterator[Sequence[Any]]:
    """Yield the rows of a binary COPY TO, as `stream.rows()` does.

    The rows that have arrived are read without waiting for the socket before each one, which took half of the time.
    """
    row: Sequence[Any] | None
    take, row = connection.pgconn.get_copy_data, stream.read_row()  # the first one, with the header of the format
    while row is not None:
        yield row
        size, data = take(1)
        if size > 0:
            if size == len(copy_format.TRAILER) and data == copy_format.TRAILER:
                stream.read()  # takes the result of the statement
                return
            row = native.split_row(data)
        elif size < 0:
            _raise_error(connection)
        else:
            row = stream.read_row()


def _raise_error(connection: Connection) -> NoReturn:
    """Raise the error that ended a COPY on the server."""
    result = connection.pgconn.get_result()
    while connection.pgconn.get_result() is not None:
        pass
    if result is not None:
        raise psycopg.errors.error_from_result(result, encoding=connection.info.encoding)
    raise psycopg.OperationalError("the connection was lost during COPY")
