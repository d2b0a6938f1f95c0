"""Codecs: usual values are converted in both directions; other values only if their meaning is clear."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from migrator import ids
from migrator.mapping.codecs import (
    BOOLEAN,
    DATETIME,
    INDEXED_TEXT,
    INTEGER,
    JSON,
    NUMBER,
    TEXT,
    UNREADABLE,
    Codec,
    Enum,
    ObjectIdText,
)
from migrator.mapping.dates import EARLIEST, LATEST
from tests.strategies import int32s, values

TIER = Enum(("free", "pro"))
ROLE = Enum(("user", "admin"), spelling=str.upper)
OID = ObjectId("65f0c0dea1b2c3d4e5f60718")
MICROS = 1_714_564_800_123_000  # 2024-05-01T12:00:00.123Z
SECOND = MICROS - 123_000


def read(codec: Codec, value: Any) -> tuple[Any, list[str]]:
    """Return the plain value and the findings."""
    notes: list[str] = []
    return codec.read(value, lambda code, detail: notes.append(code), "path"), notes


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (TEXT, ""), (TEXT, "Ünï\ufffe𝔘"), (INDEXED_TEXT, "x" * 2600), (INTEGER, 0), (INTEGER, 2**31 - 1), (INTEGER,
        -(2**31)),
        (BOOLEAN, True), (BOOLEAN, False), (TIER, "pro"), (ROLE, "ADMIN"), (JSON, {"a": [1, 1.5, None, True, "x"]}),
        (JSON, []),
        (NUMBER, 1), (NUMBER, 1.0), (NUMBER, 0.1), (DATETIME, DatetimeMS(0)), (DATETIME, DatetimeMS(-1)), (DATETIME,
        DatetimeMS(1_714_564_800_123)),
    ],
)  # fmt: skip
def test_both_ways(codec: Any, value: Any) -> None:
    """Usual values are restored with the same type and without a finding."""
    plain, notes = read(codec, value)
    back = codec.write(plain)
    assert (repr(back), notes) == (repr(value), [])


@given(st.integers(EARLIEST // 1000 + 1, LATEST // 1000))
def test_datetimes_both_ways(milliseconds: int) -> None:
    """Every date that PostgreSQL can store is restored to the millisecond."""
    assert read(DATETIME, DatetimeMS(milliseconds)) == (milliseconds * 1000, [])
    assert DATETIME.write(milliseconds * 1000) == DatetimeMS(milliseconds)


@given(int32s)
def test_integers_both_ways(value: int) -> None:
    """Every Int32 is restored; a long or double of this number is converted, a decimal or text with a finding."""
    for number in (value, Int64(value), float(value)):
        assert read(INTEGER, number) == (value, [])
    for other in (Decimal128(str(value)), f" {value}.00 "):
        assert read(INTEGER, other) == (value, ["coerced"])


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ("2024-05-01T12:00:00.123Z", MICROS), ("2024-05-01T14:00:00.123+02:00", MICROS), ("2024-05-01 12:00:00",
        SECOND),
        ("2024-05-01", SECOND - 43_200_000_000), ("20240501", SECOND - 43_200_000_000),
        ("+002024-05-01T12:00:00.123Z", MICROS),
        (" 2024-05-01T12:00:00.123Z\n", MICROS), ("Wed May 01 2024 14:00:00 GMT+0200 (Central European Summer Time)",
        SECOND),
        ("Wed May 01 2024 12:00:00 GMT+0000", SECOND), (1_714_564_800_123, MICROS), (Int64(1_714_564_800_123), MICROS),
        (1_714_564_800_123.0, MICROS), (Decimal128("1714564800123"), MICROS), ("1714564800123", MICROS),
        (Timestamp(1_714_564_800, 7), SECOND), ({"$date": "2024-05-01T12:00:00.123Z"}, MICROS),
        ({"$date": 1_714_564_800_123}, MICROS),
        ({"$date": {"$numberLong": "1714564800123"}}, MICROS), ({"$date": DatetimeMS(1_714_564_800_123)}, MICROS),
    ],
)  # fmt: skip
def test_other_spellings_of_dates(value: Any, micros: int) -> None:
    """ISO texts, texts of JavaScript, epoch milliseconds, Timestamps and $date are converted, with a finding."""
    assert read(DATETIME, value) == (micros, ["date_coerced"])


@pytest.mark.parametrize(
    "value",
    [
        DatetimeMS(LATEST // 1000 + 1), DatetimeMS(EARLIEST // 1000 - 1), DatetimeMS(2**63 - 1), DatetimeMS(-(2**63)),
        "+012345-01-01T00:00:00.000Z", "-271821-04-20T00:00:00.000Z", 10**15,
        {"$date": {"$numberLong": "9999999999999999"}},
    ],
)  # fmt: skip
def test_dates_out_of_range(value: Any) -> None:
    """Years above 9999 and dates that PostgreSQL cannot store are unreadable, with a finding."""
    assert read(DATETIME, value) == (UNREADABLE, ["date_out_of_range"])


@pytest.mark.parametrize(
    "value",
    ["", "soon", "2024-02-30", "2024-13-01T00:00:00Z", "Xxx Foo 99 2024 99:00:00 GMT+0000", "٢٠٢٤-٠٥-٠١",
     True, math.nan, math.inf, [], {}, {"$date": None}, {"$date": []}, {"$date": 1, "x": 1}, OID, b"", Regex("a"),
     Decimal128("sNaN")],
)  # fmt: skip
def test_unreadable_dates(value: Any) -> None:
    """Any other value is unreadable, without a finding of the codec."""
    assert read(DATETIME, value) == (UNREADABLE, [])


READINGS = [
    (TEXT, 5, "5", ["coerced"]), (TEXT, True, "true", ["coerced"]), (TEXT, OID, str(OID), ["coerced"]), (TEXT, "a\0",
    "a", ["nul_removed"]),
    (TEXT, Decimal128("1.10"), "1.10", ["coerced"]), (TEXT, Code("f\0"), "f", ["coerced", "nul_removed"]), (TEXT, [],
    UNREADABLE, []),
    (TEXT, DBRef("a", 1), UNREADABLE, []), (INDEXED_TEXT, "é" * 1301, UNREADABLE, ["too_long"]), (INTEGER, "0x10",
    UNREADABLE, []),
    (INTEGER, 2**31, UNREADABLE, []), (INTEGER, 1.5, UNREADABLE, []), (INTEGER, True, UNREADABLE, []), (INTEGER,
    "9" * 5000, UNREADABLE, []),
    (INTEGER, Decimal128("1E+6144"), UNREADABLE, []), (INTEGER, Decimal128("1E-6176"), UNREADABLE, []), (INTEGER,
    math.nan, UNREADABLE, []),
    (INTEGER, "٥", UNREADABLE, []), (BOOLEAN, " TRUE ", True, ["coerced"]), (BOOLEAN, 0, False, ["coerced"]),
    (BOOLEAN, 1.0, True, ["coerced"]),
    (BOOLEAN, Int64(1), True, ["coerced"]), (BOOLEAN, 2, UNREADABLE, []), (BOOLEAN, "yes", UNREADABLE, []), (BOOLEAN,
    [], UNREADABLE, []),
    (TIER, "PRO", "pro", []), (TIER, " PRO", UNREADABLE, ["unknown_enum"]), (TIER, Code("Pro"), "pro", ["coerced"]),
    (TIER, "gold", UNREADABLE, ["unknown_enum"]), (TIER, 1, UNREADABLE, []), (NUMBER,
    "0.5", 0.5, ["coerced"]),
    (NUMBER, "1e3", 1000, ["coerced"]), (NUMBER, "", UNREADABLE, []), (NUMBER, True, UNREADABLE, []), (NUMBER,
    math.nan, None, ["non_finite"]),
    (NUMBER, Decimal128("1E+400"), 10**400, []), (JSON, DatetimeMS(0), "1970-01-01T00:00:00.000Z", []),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "value", "plain", "notes"), READINGS, ids=lambda value: repr(value)[:30])
def test_readings(codec: Codec, value: Any, plain: Any, notes: list[str]) -> None:
    """A wrong type is converted with a finding if its meaning is clear, else it is unreadable."""
    found = read(codec, value)
    assert found == (plain, notes)
    assert type(found[0]) is type(plain)


@given(values)
def test_no_value_raises(value: Any) -> None:
    """Every codec reads any BSON value or returns UNREADABLE. The result has the plain type, and can be written."""
    texts: dict[Any, type] = {TEXT: str, INDEXED_TEXT: str, TIER: str, ROLE: str}
    kinds = {**texts, INTEGER: int, BOOLEAN: bool, DATETIME: int}
    for codec, kind in kinds.items():
        plain, _ = read(codec, value)
        assert plain is UNREADABLE or type(plain) is kind
        assert plain is UNREADABLE or codec.write(plain) is not UNREADABLE
    for codec in (JSON, NUMBER):
        read(codec, value)


def test_objectid_of_a_uuid() -> None:
    """The UUIDv7 of an ObjectId restores it, or its digits; another UUID is unreadable."""
    made = ids.uuid_of("users", OID)
    assert (ObjectIdText().write(made), ObjectIdText(as_text=True).write(made)) == (OID, str(OID))
    assert ObjectIdText().write(ids.uuid_of("users", "me")) is UNREADABLE


def test_binary_is_not_text() -> None:
    """Bytes are unreadable as text."""
    assert read(TEXT, Binary(b"abc", 5)) == (UNREADABLE, [])
