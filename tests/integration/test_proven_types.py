"""Types whose values PostgreSQL returns as they were sent, and the others."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from migrator.postgres import copy_format
from migrator.postgres.copy import copy, read_rows
from migrator.verification.proven_documents import RETURNED_AS_SENT, returns_as_sent

Values = st.SearchStrategy[bytes]
TABLE = sql.Identifier("public", "things")


def numbers(form: str, least: int, most: int) -> Values:
    return st.integers(least, most).map(struct.Struct(form).pack)


def times(form: str, least: int, most: int, bits: int) -> Values:
    ends = st.sampled_from([struct.pack(form, -(1 << bits)), struct.pack(form, (1 << bits) - 1)])  # infinity
    return numbers(form, least, most) | ends


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9).map(str.encode)
TIMES = times(">q", -211_813_488_000_000_000, 9_223_371_331_199_999_999, 63)
FORMS: dict[str, Values] = {
    "boolean": st.sampled_from([b"\0", b"\1"]),
    "smallint": numbers(">h", -(1 << 15), (1 << 15) - 1),
    "integer": numbers(">i", -(1 << 31), (1 << 31) - 1),
    "bigint": numbers(">q", -(1 << 63), (1 << 63) - 1),
    "uuid": st.binary(min_size=16, max_size=16),
    "text": TEXTS,
    "character varying": TEXTS,
    "bytea": st.binary(max_size=9),
    "date": times(">i", -2_451_545, 2_145_031_948, 31),
    "timestamp without time zone": TIMES,
    "timestamp with time zone": TIMES,
    "state": st.sampled_from([b"a", b"A", "\u00e9".encode(), "e\u0301".encode()]),  # an enum
}


@pytest.fixture(scope="module")
def connection(server_url: str) -> Iterator[psycopg.Connection[Any]]:
    from tests.conftest import fresh_database

    with fresh_database(server_url) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TYPE state AS ENUM ('a', 'A', '\u00e9', 'e\u0301')")
        connection.execute("CREATE DOMAIN words AS text")
        yield connection


def make_table(connection: psycopg.Connection[Any], kind: str) -> None:
    connection.execute("DROP TABLE IF EXISTS things")
    connection.execute(f"CREATE TABLE things (number integer, value {kind})".encode())


def test_every_type_has_values() -> None:
    """The values of all types are tested, and one enum."""
    assert FORMS.keys() == {*RETURNED_AS_SENT, "state"}


@pytest.mark.parametrize("kind", FORMS)
def test_values_are_returned_as_sent(kind: str, connection: psycopg.Connection[Any]) -> None:
    """Values are returned with the same bytes, and their hashes differ unless they are the same."""
    make_table(connection, kind)
    assert returns_as_sent(connection, TABLE, ["number", "value"])

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(FORMS[kind] | st.none(), min_size=1, max_size=40))
    def check(values: list[bytes | None]) -> None:
        connection.execute("TRUNCATE things")
        kinds = ("integer", "bytea")
        copy(connection, TABLE, [copy_format.write_row(row, kinds) for row in enumerate(values)])
        query = "COPY (SELECT value, hash_record_extended(ROW(value), 0) FROM things ORDER BY number) TO STDOUT BINARY"
        with connection.cursor() as cursor, cursor.copy(query.encode()) as stream:
            found = [(value, hashed) for value, hashed in read_rows(connection, stream)]
        assert [value for value, _ in found] == values
        assert len({hashed for _, hashed in found}) == len(set(values))

    check()


OTHERS = (
    "numeric", "real", "double precision", "json", "jsonb", "char(5)", "varchar(5)", "timestamp(3)", "timestamptz(3)",
    "text[]", "integer[]", "interval", "time", "timetz", "words", "inet", "bit varying", "xml", "money", "name",
)  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_other_types_prove_nothing(kind: str, connection: psycopg.Connection[Any]) -> None:
    """Values of all other types may be returned in another form than they were sent."""
    make_table(connection, kind)
    assert returns_as_sent(connection, TABLE, ["number"])
    assert not returns_as_sent(connection, TABLE, ["number", "value"])


def test_a_collation_that_ignores_differences_proves_nothing(connection: psycopg.Connection[Any]) -> None:
    """Texts of a nondeterministic collation are equal to others."""
    make_table(connection, "text")
    connection.execute("UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'ucs_basic'")
    connection.execute("ALTER TABLE things ALTER COLUMN value TYPE text COLLATE ucs_basic")
    assert not returns_as_sent(connection, TABLE, ["number", "value"])
