"""The order of `_id`s: MongoDB's comparison order, over values of every BSON type."""

from __future__ import annotations

import itertools
import random
import struct

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import given

from migrator.documents.codec import encode
from migrator.reconciliation.id_order import id_order
from tests.strategies import build, values


def raw(kind: int, value: bytes) -> bytes:
    """Return `{"_id": …}` of a type that the driver does not write."""
    body = bytes((kind,)) + b"_id\0" + value + b"\0"
    return struct.pack("<i", len(body) + 4) + body


def text(value: bytes) -> bytes:
    return struct.pack("<i", len(value) + 1) + value + b"\0"


def source_id(value: object) -> bytes:
    return value if type(value) is bytes else encode({"_id": value})


# Ascending. `{}`, undefined and null are smaller than all values but MinKey.
ORDER: list[object] = [
    MinKey(), raw(0x06, b""), None,
    float("nan"), float("-inf"), Decimal128("-1E+400"), -1e300, Int64(-(2**63)), -1, Decimal128("-0.5"), 0, 5e-324,
    Decimal128("0.1"), 0.1, 1, 1.5, 2**31, Decimal128("9007199254740992.5"), Int64(2**53 + 1), 1e19,
    Decimal128("1E+400"), float("inf"),
    "", "A", raw(0x0E, text(b"B")), "a", "aa", "b", "é", "\uffff", "𝔘",
    {}, {"a": None}, {"z": 1}, {"a": "x"}, {"a": "x", "b": 1}, {"b": "x"}, {"a": {"b": 1}}, {"a": [1]},
    [], [None], [1], [1, 2], [2],
    Binary(b""), Binary(b"\xff"), Binary(b"\x00", 128), Binary(b"\x00" * 5), Binary(b"\x01" * 16, 3),
    Binary(b"\x00" * 16, 4),
    ObjectId("000000000000000000000000"), ObjectId("7f0000000000000000000000"), ObjectId("ff0000000000000000000000"),
    False, True,
    DatetimeMS(-(2**63)), DatetimeMS(-5), DatetimeMS(-1), DatetimeMS(0), DatetimeMS(999_999_999_999),
    DatetimeMS(1_000_000_000_000),
    Timestamp(0, 1), Timestamp(1, 0), Timestamp(2**31, 0), Timestamp(2**32 - 1, 0),
    Regex("a"), Regex("a", "i"), Regex("b"),
    raw(0x0C, text(b"z") + b"\0" * 12), raw(0x0C, text(b"aa") + b"\0" * 12), raw(0x0C, text(b"aa") + b"\1" * 12),
    Code("a"), Code("b"),
    Code("a", {}), Code("a", {"x": 1}), Code("b", {}),
    MaxKey(),
    raw(0x55, b""),  # an unknown type: after all others
]  # fmt: skip


def test_order_of_all_types() -> None:
    """Every pair of values is in MongoDB's order, from whatever order they are sorted."""
    ids = [source_id(value) for value in ORDER]
    shuffled = random.Random(1).sample(ids, len(ids))
    assert sorted(shuffled, key=id_order) == ids
    for smaller, larger in itertools.combinations(ids, 2):
        assert id_order(smaller) < id_order(larger)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, Int64(1)), (0, Decimal128("-0.00")), (2.5, Decimal128("2.50"))]
)
def test_equal_numbers_have_a_fixed_order(one: object, other: object) -> None:
    """MongoDB considers these equal: their bytes decide, so that the order does not depend on the order of reading."""
    first, second = id_order(source_id(one)), id_order(source_id(other))
    assert first[:2] == second[:2]
    assert first != second


def test_missing_and_damaged_ids_have_a_place() -> None:
    """A document without `_id` is ordered like undefined; what cannot be read comes last."""
    missing, damaged = bson.encode({}), raw(0x02, struct.pack("<i", 500) + b"x\0")
    assert id_order(source_id(MinKey())) < id_order(missing) < id_order(source_id(None))
    assert id_order(source_id(MaxKey())) < id_order(damaged)


@given(values, values, values)
def test_order_is_total(one: object, two: object, three: object) -> None:
    """Any three values can be sorted, and in one way only."""
    ids = [source_id(build(value)) for value in (one, two, three)]
    orders = {tuple(sorted(each, key=id_order)) for each in itertools.permutations(ids)}
    assert len(orders) == 1
