"""The normal form of jsonb: computed values equal those that PostgreSQL returns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.documents import jsonb
from migrator.documents.codec import decode, encode
from tests.strategies import nests, texts, values

Connection = psycopg.Connection[Any]
unhurried = settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))


def ignore(code: str, detail: str) -> None:
    """A `Note` that ignores findings."""


def read(value: Any) -> tuple[Any, list[str]]:
    """Return a value in normal form, and the findings."""
    notes: list[str] = []
    return jsonb.normalize(jsonb.clean(value, lambda code, detail: notes.append(code), "path")), notes


@pytest.fixture(scope="module")
def connection(server_url: str) -> Iterator[Connection]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        yield connection


def through_postgres(connection: Connection, plain: Any) -> str:
    found = connection.execute("SELECT %s::jsonb::text", (jsonb.to_text(plain),)).fetchone()
    assert found is not None
    return str(found[0])


def assert_alike(one: Any, other: Any) -> None:
    """Check that values are equal, with the same types and order."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_alike(left, right)
    else:
        assert str(one) == str(other)


@unhurried
@given(value=values)
def test_normal_form_is_postgres(connection: Connection, value: Any) -> None:
    """PostgreSQL returns any BSON value as `normalize` computes it, with the same types and order of keys."""
    plain = jsonb.normalize(jsonb.clean(decode(encode({"": value}))[""], ignore, "path"))
    assert_alike(jsonb.from_text(through_postgres(connection, plain)), plain)


@unhurried
@given(value=st.dictionaries(texts.map(lambda text: text.replace("\0", "")), values, max_size=8))
def test_many_keys(connection: Connection, value: Any) -> None:
    """Keys are ordered by their length in UTF-8, then by bytes."""
    plain = jsonb.normalize(jsonb.clean(value, ignore, "path"))
    assert_alike(jsonb.from_text(through_postgres(connection, plain)), plain)


@settings(max_examples=20, deadline=None)
@given(value=nests())
def test_deep_nesting(connection: Connection, value: Any) -> None:
    """Deeply nested values are returned, too."""
    plain = jsonb.normalize(jsonb.clean(value, ignore, "path"))
    assert_alike(jsonb.from_text(through_postgres(connection, plain)), plain)


NUMBERS = [
    (-0.0, 0.0, "0.0"),
    (0.1, 0.1, "0.1"),
    (100.0, 100.0, "100.0"),
    (1e16, 10**16, "1" + "0" * 16),
    (1e22, 10**22, "1" + "0" * 22),
    (1.5e300, 15 * 10**299, "15" + "0" * 299),
    (5e-324, 5e-324, "0." + "0" * 323 + "5"),
    (Int64(2**63 - 1), 2**63 - 1, str(2**63 - 1)),
    (Decimal128("1.10"), 1.1, "1.1"),
    (Decimal128("-0"), 0, "0"),
    (Decimal128("-0.00"), 0.0, "0.0"),
    (Decimal128("0E+3"), 0, "0"),
    (Decimal128("1E+3"), 1000, "1000"),
    (Decimal128("1E+400"), 10**400, "1" + "0" * 400),
    (Decimal128("1E-400"), Decimal("0." + "0" * 399 + "1"), "0." + "0" * 399 + "1"),
    (Decimal128("100000000000000000000.0"), Decimal("1" + "0" * 20 + ".0"), "1" + "0" * 20 + ".0"),
    (Decimal128("9E+6144"), Decimal("9" + "0" * 6144), "9" + "0" * 6144),
    (Decimal128("1E-6176"), Decimal("0." + "0" * 6175 + "1"), "0." + "0" * 6175 + "1"),
    (Decimal128("12345678901234567890.12345"), Decimal("12345678901234567890.12345"), "12345678901234567890.12345"),
]


@pytest.mark.parametrize(("value", "plain", "text"), NUMBERS, ids=lambda value: repr(value)[:30])
def test_numbers(connection: Connection, value: Any, plain: Any, text: str) -> None:
    """Numbers are stored exactly, without exponent and without a sign of zero."""
    assert_alike(read(value), (plain, []))
    assert jsonb.to_text(plain) == text
    assert through_postgres(connection, plain) == text


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        Decimal128("NaN"),
        Decimal128("sNaN"),
        Decimal128("-sNaN"),
        Decimal128("-Infinity"),
    ],
)
def test_non_finite_numbers(value: Any) -> None:
    """Non-finite numbers become null, with a finding."""
    assert read({"a": [value]}) == ({"a": [None]}, ["non_finite"])


def test_nul() -> None:
    """U+0000 is removed from texts at any depth, with a finding; also in extended JSON."""
    assert read({"a": ["x\0y", Code("\0f()")]}) == ({"a": ["xy", {"$code": "f()"}]}, ["nul_removed", "nul_removed"])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (ObjectId("65f0c0dea1b2c3d4e5f60718"), "65f0c0dea1b2c3d4e5f60718"), (DatetimeMS(0), "1970-01-01T00:00:00.000Z"),
        (DatetimeMS(-62_135_596_800_000), "0001-01-01T00:00:00.000Z"), (DatetimeMS(253_402_300_799_999),
        "9999-12-31T23:59:59.999Z"),
        (DatetimeMS(253_402_300_800_000), {"$date": {"$numberLong": "253402300800000"}}),
        (DatetimeMS(-(2**63)), {"$date": {"$numberLong": str(-(2**63))}}), (Code("f()"), {"$code": "f()"}),
        (Code("f()", {"a": 1}), {"$code": "f()", "$scope": {"a": {"$numberInt": "1"}}}), (MinKey(), {"$minKey": 1}),
        (MaxKey(), {"$maxKey": 1}),
        (Timestamp(1, 2), {"$timestamp": {"i": 2, "t": 1}}), (Regex("a", "i"), {"$regularExpression": {"options": "i",
        "pattern": "a"}}),
        (DBRef("c", 1), {"$id": {"$numberInt": "1"}, "$ref": "c"}), (b"a", {"$binary": {"base64": "YQ==",
        "subType": "00"}}),
        (Binary(b"a", 2), {"$binary": {"base64": "YQ==", "subType": "02"}}), (Binary(b"a", 4),
        {"$binary": {"base64": "YQ==", "subType": "04"}}),
    ],
)  # fmt: skip
def test_other_types(value: Any, plain: Any) -> None:
    """Dates become ISO texts, ObjectIds their digits, and all other types extended JSON."""
    assert_alike(read(value), (plain, []))
