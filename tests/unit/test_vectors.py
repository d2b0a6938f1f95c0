"""Vectors in documents: what is read as a vector, and which forms follow from the stored vector to the bit."""

from __future__ import annotations

import struct
from array import array
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64
from hypothesis import given
from hypothesis import strategies as st

from migrator.documents import vectors
from migrator.documents.codec import decode, encode

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20)
WIDTH = 24


@given(FLOATS)
def test_forms_are_restored(numbers: list[float]) -> None:
    """Every form that is written from a vector is read as the vector, described in few bytes, and restored exactly."""
    vector = array("f", numbers)
    stored = vectors.to_binary(vector, WIDTH)
    assert vectors.from_binary(stored, len(vector)).tobytes() == vector.tobytes()
    for form, write in vectors._FORMS.items():
        value = decode(encode({"v": write(vector)}))["v"]
        found = vectors.read_vector(value)
        assert found is not None
        assert found.tobytes() == vector.tobytes(), form
        described = vectors.describe_form(value, stored)
        assert described is not None
        restored = vectors.restore_form(described, stored)
        assert encode({"v": restored}) == encode({"v": value}), form


@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=20))
def test_other_numbers_are_not_described(numbers: list[float]) -> None:
    """A list of doubles that 32 bits cannot hold stays in the residue; what is described is restored exactly."""
    vector = vectors.read_vector(numbers)
    assert vector is not None
    stored = vectors.to_binary(vector, WIDTH)
    described = vectors.describe_form(numbers, stored)
    if described is not None:
        restored = vectors.restore_form(described, stored)
        assert encode({"v": restored}) == encode({"v": numbers})
    assert vectors.describe_form(numbers, None) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, Int64(2), 0.5, Decimal128("0.25")], [1, 2, 0.5, 0.25]),
        ("[1, 2.5]", [1, 2.5]),
        ([1e300], [float("inf")]),
        ([], []),
        ("[]", []),
        ([True], None),
        (["1"], None),
        ([[1.0]], None),
        ("1", None),
        ("{1,2}", None),
        ("", None),
        ({"0": 1.0}, None),
        ([None], None),
        (Binary(b"\x27\x00\x00\x00\x80\x3f", 9), [1.0]),
        (Binary(b"\x27\x00\x00\x00\x80\x3f", 0), None),  # no vector
        (Binary(b"\x03\x00\x01\x02\x03\x04", 9), None),  # of 8-bit numbers
        (Binary(b"\x27\x00\x00\x00\x80", 9), None),  # cut
        ([10**400], None),
        ("[" * 100_000, None),
    ],
)
def test_what_is_a_vector(value: Any, expected: list[float] | None) -> None:
    """Lists of numbers, their JSON text, and binary vectors of 32-bit floats."""
    found = vectors.read_vector(value)
    assert (None if found is None else found.tolist()) == expected


def test_checks() -> None:
    """Other dimensions, NaN, infinity and zero are named."""
    assert vectors.check_vector(array("f", [1, 2]), 2) == array("f", [1, 2])
    assert vectors.check_vector(array("f", [1]), 2) == "the vector has 1 dimensions instead of 2"
    assert vectors.check_vector(array("f", [0, 0]), 2) == "all elements of the vector are zero"
    for number in (float("nan"), float("inf")):
        assert vectors.check_vector(array("f", [1, number]), 2) == "the vector contains NaN or infinity"


def test_array_of_the_server() -> None:
    """The binary form of `real[]` becomes BSON's binary vector."""
    numbers = [0.5, -1.25]
    header = struct.pack(">iiIii", 1, 0, 700, len(numbers), 1)
    data = header + b"".join(struct.pack(">if", 4, number) for number in numbers)
    found = vectors.from_array(data)
    assert vectors.read_vector(found) == array("f", numbers)
    assert found.as_vector().data == numbers
