"""Rows in binary COPY: written and read they are the same, and PostgreSQL reads them as we mean them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pytest
import sqlalchemy as sa
from bson import Decimal128
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from mappings import MAPPINGS
from migrator.documents import jsonb
from migrator.errors import UsageError
from migrator.mapping.codecs import NUMERIC
from migrator.mapping.dates import EARLIEST, LATEST
from migrator.postgres import copy_format, native
from migrator.postgres.column_kinds import catalog_name, kind_of_column
from schema.base import metadata
from tests.strategies import values

Connection = psycopg.Connection[Any]


def to_plain(value: Any) -> Any:
    return jsonb.normalize(jsonb.clean(value, lambda code, detail: None, ""))


def to_numeric(number: Decimal) -> Decimal:
    """As the codec reads it: without an exponent and without -0."""
    plain = NUMERIC.read(Decimal128(number), lambda code, detail: None, "")
    assert isinstance(plain, Decimal)
    return plain


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
moments = st.one_of(st.integers(EARLIEST, LATEST), st.sampled_from([EARLIEST, LATEST, 0, -1]))
json_values = values.map(to_plain).filter(lambda value: value is not None)
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=None) | st.sampled_from(
    [Decimal("1E+6100"), Decimal("1E-6100"), Decimal("-0.00"), Decimal("10000"), Decimal("0.00010000")]
)
# kind → plain values
STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "uuid": st.binary(min_size=16, max_size=16),
    "text": texts,
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(width=32),
    "double precision": st.floats(),
    "numeric": numbers.filter(lambda number: len(number.as_tuple().digits) <= 34).map(to_numeric),
    "boolean": st.booleans(),
    "date": st.integers(-2_440_588, 2_932_896),
    "time": st.integers(0, 86_399_999_999),
    "timestamp": moments,
    "timestamptz": moments,
    "json": json_values,
    "jsonb": json_values,
    "bytea": st.binary(),
}
KINDS = (*STRATEGIES, *(f"{kind}[]" for kind in STRATEGIES))
TABLE = f"CREATE TEMP TABLE every ({', '.join(f'c{number} {kind}' for number, kind in enumerate(KINDS))})"
plain_rows = st.tuples(
    *(st.none() | strategy for strategy in STRATEGIES.values()),
    *(st.none() | st.lists(st.none() | strategy, max_size=3) for strategy in STRATEGIES.values()),
)


@pytest.fixture(scope="module")
def connection(server_url: str) -> Iterator[Connection]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection


def copy_in(connection: Connection, data: bytes, table: LiteralString = "every") -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as stream:
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


@settings(max_examples=100, deadline=None)
@given(row=plain_rows)
def test_both_versions_write_the_same_rows(row: tuple[Any, ...]) -> None:
    """The compiled one equals the one in Python, for values of every kind; both refuse what is no Unicode."""
    assert native.write_row(row, KINDS) == copy_format.write_row(row, KINDS)
    for write in (native.write_row, copy_format.write_row):
        with pytest.raises(UnicodeEncodeError):
            write(("\ud800",), ("text",))
        with pytest.raises(ValueError, match="argument"):
            write(("one", "two"), ("text",))


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "1970-01-01 00:00:00"), (-1, "1969-12-31 23:59:59.999999"), (EARLIEST, "4714-11-24 00:00:00 BC"), (LATEST,
    "9999-12-31 23:59:59.999999")],
)  # fmt: skip
def test_timestamps(connection: Connection, micros: int, text: str) -> None:
    """Microseconds since 1970 are the moment that PostgreSQL prints, from its very first to the end of 9999."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS moments (at timestamp)")
    connection.execute("TRUNCATE moments")
    copy_in(connection, copy_format.write_row((micros,), ("timestamp",)), "moments")
    assert connection.execute("SELECT at::text FROM moments").fetchone() == (text,)


def test_before_the_first_timestamp(connection: Connection) -> None:
    """One microsecond earlier PostgreSQL refuses, so the range of the codec has no room to spare."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS moments (at timestamp)")
    with pytest.raises(psycopg.errors.DatetimeFieldOverflow):
        copy_in(connection, copy_format.write_row((EARLIEST - 1,), ("timestamp",)), "moments")


def test_kinds_of_every_table() -> None:
    """Every column of the schema has a kind, and every mapping fills columns of its table."""
    for table in metadata.tables.values():
        assert all(kind_of_column(column) in {*KINDS, "vector"} for column in table.columns)
    for mapping in MAPPINGS:
        filled = {column for rule in (mapping.key, *mapping.rules) for column in rule.columns if "." not in column}
        assert filled - {"agent.provider", "agent.model"} <= {column.name for column in mapping.table.columns}


UNSUPPORTED = {
    "interval": sa.Interval(),
    "inet": postgresql.INET(),
    "time with time zone": sa.Time(timezone=True),
    "tsvector": postgresql.TSVECTOR(),
    "an array of enums": sa.ARRAY(postgresql.ENUM("a", name="letter")),
    "an array of varchar": sa.ARRAY(sa.String(20)),
    "an array of domains": sa.ARRAY(postgresql.DOMAIN("d", sa.Integer())),
    "an array of arrays": sa.ARRAY(sa.Integer, dimensions=2),
    "a domain over one of them": postgresql.DOMAIN("d", postgresql.MONEY()),
}


@pytest.mark.parametrize("kind", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unknown_type(kind: Any) -> None:
    """A column of a type that the loader cannot write is named, with the types that it can write."""
    table = sa.Table("odd", sa.MetaData(), sa.Column("price", kind))
    with pytest.raises(UsageError, match=r"odd\.price") as raised:
        kind_of_column(table.c.price)
    assert "bigint" in (raised.value.hint or "")


SUPPORTED: list[tuple[Any, str]] = [
    (sa.SmallInteger(), "smallint"), (sa.BigInteger(), "bigint"), (sa.REAL(), "real"), (sa.Float(), "double precision"),
    (sa.Float(precision=24), "real"), (sa.Double(), "double precision"), (sa.Numeric(10, 2), "numeric"),
    (sa.String(20), "text"), (sa.CHAR(2), "text"), (postgresql.ENUM("a", name="letter"), "text"), (sa.Date(), "date"),
    (sa.Time(), "time"), (sa.DateTime(timezone=True), "timestamptz"), (postgresql.TIMESTAMP(), "timestamp"),
    (sa.LargeBinary(), "bytea"), (postgresql.BYTEA(), "bytea"), (sa.JSON(), "json"), (postgresql.JSONB(), "jsonb"),
    (sa.ARRAY(sa.Text), "text[]"), (postgresql.ARRAY(sa.Numeric), "numeric[]"),
    (postgresql.DOMAIN("positive", sa.Integer()), "integer"), (sa.Uuid(), "uuid"), (postgresql.UUID(), "uuid"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "expected"), SUPPORTED, ids=[repr(kind) for kind, _ in SUPPORTED])
def test_known_type(kind: Any, expected: str) -> None:
    """Each type of column has one kind, and the kind is a type of pg_catalog."""
    assert kind_of_column(sa.Table("t", sa.MetaData(), sa.Column("c", kind)).c.c) == expected


def test_names_in_the_catalog(connection: Connection) -> None:
    """The qualified name of every kind is the type that the kind names."""
    for kind in KINDS:
        names = connection.execute("SELECT %s::regtype = %s::regtype", (catalog_name(kind), kind)).fetchone()
        assert names == (True,)
