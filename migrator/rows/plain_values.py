"""Plain values of columns as parameters of queries, and plain values read from queries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from migrator.postgres.column_kinds import INTEGERS, catalog_name
from migrator.postgres.copy_format import reader, writer

Connection = psycopg.Connection[Any]
_UUID_BYTES: Final = 16
# psycopg's own values for these kinds are the plain values.
_SIMPLE: Final = INTEGERS | {"text", "boolean", "double precision", "real", "bytea"}


class Encoded:
    """The bytes of a field in PostgreSQL's binary format. The query must cast the parameter."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class EncodedDumper(Dumper):
    """Passes the bytes on; the server takes the type from the cast."""

    format = Format.BINARY
    oid = 0

    def dump(self, obj: Encoded) -> Buffer:
        return obj.data


psycopg.adapters.register_dumper(Encoded, EncodedDumper)


def as_parameter(value: Any, kind: str) -> tuple[sql.Composable, Any]:
    """Return an SQL expression with one placeholder for a plain value of a column, and the parameter."""
    if value is None or kind in _SIMPLE or kind == "vector":
        return sql.SQL("%s"), value
    return sql.SQL("%s::{}").format(sql.SQL(catalog_name(kind))), Encoded(writer(kind)(value))


def array_parameter(values: list[Any], kind: str) -> Any:
    """Convert plain values to the parameter of an array, which the query must cast.

    UUIDs become one array literal: psycopg needs longer to write UUID objects than the server needs for the lookup.
    """
    if kind == "uuid":
        return "{" + ",".join([value.hex() for value in values]) + "}"
    return values if kind in _SIMPLE else Encoded(writer(f"{kind}[]")(values))


def bytes_array(values: Iterable[bytes]) -> str:
    """Return the array literal of some bytea, which the query must cast. psycopg escapes each value three times."""
    return "{" + ",".join([f'"\\\\x{value.hex()}"' for value in values]) + "}"


def sql_parameter(value: Any) -> Any:
    """Convert a plain ID to a psycopg parameter."""
    return uuid.UUID(bytes=value) if isinstance(value, bytes) and len(value) == _UUID_BYTES else value


def plain_value(value: Any) -> Any:
    """Convert an ID loaded by psycopg to the plain value that mappings use."""
    return value.bytes if isinstance(value, uuid.UUID) else value


@contextmanager
def plain_cursor(connection: Connection) -> Iterator[psycopg.Cursor[Any]]:
    """Open a cursor whose queries return plain values.

    Creating a UUID object for each row takes longer than a whole query, and PostgreSQL has dates that Python cannot
    represent.
    """
    with connection.cursor(binary=True) as cursor:
        for name, loader in _LOADERS.items():
            cursor.adapters.register_loader(name, loader)
        yield cursor


class PlainUuid(Loader):
    """Loads a UUID as its 16 bytes."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def _loader_of(kind: str) -> type[Loader]:
    read: Callable[[bytes], Any] = reader(kind)

    class PlainLoader(Loader):
        format = Format.BINARY

        def load(self, data: Buffer) -> Any:
            return read(bytes(data))

    return PlainLoader


_LOADERS: Final[dict[str, type[Loader]]] = {
    "uuid": PlainUuid,
    **{kind: _loader_of(kind) for kind in ("timestamp", "timestamptz", "date", "time", "numeric", "json", "jsonb")},
}
