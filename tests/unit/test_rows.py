"""Rows in binary COPY: written and read they are the same, and PostgreSQL reads them as we mean them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings import MAPPINGS
from migrator.documents import jsonb
from migrator.mapping.dates import EARLIEST, LATEST
from migrator.postgres import copy_format
from schema.base import metadata
from tests.strategies import values

Connection = psycopg.Connection[Any]
KINDS = ("uuid", "text", "integer", "boolean", "timestamp", "jsonb", "bytea")
TABLE = "CREATE TEMP TABLE every (u uuid, t text, i integer, b boolean, s timestamp, j jsonb, y bytea)"


def to_plain(value: Any) -> Any:
    return jsonb.normalize(jsonb.clean(value, lambda code, detail: None, ""))


plain_rows = st.tuples(
    *(
        st.none() | strategy
        for strategy in (
            st.binary(min_size=16, max_size=16),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            st.integers(-(2**31), 2**31 - 1),
            st.booleans(),
            st.one_of(st.integers(EARLIEST, LATEST), st.sampled_from([EARLIEST, LATEST, 0, -1])),
            values.map(to_plain).filter(lambda value: value is not None),
            st.binary(),
        )
    )
)


@pytest.fixture(scope="module")
def connection(server_url: str) -> Iterator[Connection]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection


def copy_in(connection: Connection, data: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY every FROM STDIN (FORMAT BINARY)") as stream:
        stream.write(copy_format.HEADER + data + copy_format.TRAILER)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(plain_rows, min_size=1, max_size=5))
def test_rows_come_back(connection: Connection, batch: list[tuple[Any, ...]]) -> None:
    """Plain values that go into PostgreSQL by COPY come out of it by COPY as they were, NULL too."""
    connection.execute("TRUNCATE every")
    copy_in(connection, b"".join(copy_format.write_row(row, KINDS) for row in batch))
    with connection.cursor() as cursor, cursor.copy("COPY every TO STDOUT (FORMAT BINARY)") as stream:
        found = [copy_format.read_row(fields, KINDS) for fields in stream.rows()]
    assert repr(found) == repr([list(row) for row in batch])


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "1970-01-01 00:00:00"), (-1, "1969-12-31 23:59:59.999999"), (EARLIEST, "4714-11-24 00:00:00 BC"), (LATEST,
    "9999-12-31 23:59:59.999999")],
)  # fmt: skip
def test_timestamps(connection: Connection, micros: int, text: str) -> None:
    """Microseconds since 1970 are the moment that PostgreSQL prints, from its very first to the end of 9999."""
    connection.execute("TRUNCATE every")
    copy_in(connection, copy_format.write_row((None, None, None, None, micros, None, None), KINDS))
    assert connection.execute("SELECT s::text FROM every").fetchone() == (text,)


def test_before_the_first_timestamp(connection: Connection) -> None:
    """One microsecond earlier PostgreSQL refuses, so the range of the codec has no room to spare."""
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
        copy_in(connection, copy_format.write_row((None, None, None, None, EARLIEST - 1, None, None), KINDS))


def test_kinds_of_every_table() -> None:
    """Every column of the schema has a kind, and every mapping fills columns of its table."""
    for table in metadata.tables.values():
        assert [name for name, _ in copy_format.kinds_of_table(table)] == [column.name for column in table.columns]
    for mapping in MAPPINGS:
        filled = {column for rule in (mapping.key, *mapping.rules) for column in rule.columns if "." not in column}
        assert filled - {"agent.provider", "agent.model"} <= {column.name for column in mapping.table.columns}


def test_unknown_type() -> None:
    """A column of a type that the loader cannot write is named."""
    table = sa.Table("odd", sa.MetaData(), sa.Column("price", sa.Numeric))
    with pytest.raises(TypeError, match=r"odd\.price"):
        copy_format.kinds_of_table(table)
