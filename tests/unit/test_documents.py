"""Documents: exact equality of BSON values, and residues."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, Regex
from hypothesis import given
from hypothesis import strategies as st

from migrator.documents.codec import decode, encode, is_faithful, same
from migrator.documents.residue import add_residue, pack_residue, subtract
from tests.strategies import keys, values

fields = st.dictionaries(keys.filter(lambda key: key != "_id"), values, max_size=4)


@given(values)
def test_values_are_preserved(value: Any) -> None:
    """A decoded value encodes to the same bytes, and is the same as itself."""
    raw = encode({"a": value})
    again = decode(raw)["a"]
    assert encode({"a": again}) == encode({"a": decode(encode({"a": again}))["a"]})
    assert same(again, decode(encode({"a": again}))["a"])


@given(values, values)
def test_same_is_same_bytes(one: Any, other: Any) -> None:
    """Two values are the same if their BSON is the same."""
    one, other = decode(encode({"a": one}))["a"], decode(encode({"a": other}))["a"]
    assert same(one, other) == (encode({"a": one}) == encode({"a": other}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, Int64(1)), (1, 1.0), (1, True), (0.0, -0.0), (0, False), ("1", 1), (None, 0), (Decimal128("1"),
        Decimal128("1.0")),
        (Decimal128("1"), Decimal("1")), ("a", Code("a")), (Code("a"), Code("a", {})), (b"a", Binary(b"a", 5)), ("a",
        Regex("a")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([1, 2], [2, 1]), ({}, []), ({"a": Decimal128("1E+20")}, {"a": 10**20}),
        ([Decimal128("1")], [Decimal(1)]), ({"$ref": "a", "$id": 1}, DBRef("a", 1)), (math.nan, math.inf),
    ],
)  # fmt: skip
def test_different(one: Any, other: Any) -> None:
    """Types, signs and the order inside values count. Values without a BSON type are different, not an error."""
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize(
    "value", [math.nan, [math.nan], -0.0, Decimal128("NaN"), {"a": []}, Regex("a", "i"), DBRef("a", 1)]
)
def test_same(value: Any) -> None:
    """A value is the same as itself, also NaN."""
    assert same(value, decode(encode({"": value}))[""])


@given(fields, fields)
def test_residue_restores_the_document(document: dict[str, Any], back: dict[str, Any]) -> None:
    """The restored fields and the residue make the document, for any two documents."""
    document, back = decode(encode(document)), decode(encode(back))
    rebuilt = add_residue(dict(back), pack_residue(*subtract(document, back)))
    assert rebuilt.keys() == document.keys()
    assert all(same(rebuilt[name], value) for name, value in document.items())


def test_no_residue() -> None:
    """Equal documents have no residue. The order of top-level fields does not count."""
    assert pack_residue(*subtract({"a": 1, "b": 2}, {"b": 2, "a": 1})) is None
    assert add_residue({"a": 1}, None) == {"a": 1}


def test_residue_is_bson() -> None:
    """The residue is BSON with the fields to set and to unset."""
    residue = pack_residue(*subtract({"a": None, "b": 1}, {"b": 2, "d": 1, "c": 0}))
    assert residue is not None
    assert decode(residue) == {"set": {"a": None, "b": 1}, "unset": ["c", "d"]}


def element(kind: int, value: bytes) -> bytes:
    """Return a document with one field `a`."""
    return enclose(bytes([kind]) + b"a\0" + value)


def enclose(elements: bytes) -> bytes:
    return (len(elements) + 5).to_bytes(4, "little") + elements + b"\0"


ONE, TWO = b"\x10%s\0\1\0\0\0", b"\x10%s\0\2\0\0\0"
ID, REF, DB = b"\x10$id\0\1\0\0\0", b"\x02$ref\0\2\0\0\0c\0", b"\x02$db\0\2\0\0\0d\0"


@pytest.mark.parametrize(
    "raw",
    [
        enclose(ONE % b"a" + TWO % b"a"), element(0x03, enclose(ONE % b"a" + ONE % b"a")), element(0x06, b""),
        element(0x0C, b"\2\0\0\0c\0" + bytes(12)), element(0x0E, b"\2\0\0\0s\0"), element(0x0B, b"x\0xi\0"),
        element(0x0B, b"x\0q\0"), element(0x04, enclose(ONE % b"5")), element(0x03, enclose(ID + REF)),
        element(0x03, enclose(REF + DB + ID)), element(0x03, enclose(ONE % b"x" + REF + ID)),
        element(0x03, enclose(REF + ID + b"\x0a$db\0")), enclose(ONE % b"b" + ONE % b"_id"),
    ],
)  # fmt: skip
def test_unfaithful(raw: bytes) -> None:
    """Documents that the driver does not preserve are recognized."""
    assert not is_faithful(decode(raw), raw)


@given(fields)
def test_faithful(document: dict[str, Any]) -> None:
    """Documents that the driver has written and read are preserved."""
    raw = encode(decode(encode(document)))
    assert is_faithful(decode(raw), raw)
