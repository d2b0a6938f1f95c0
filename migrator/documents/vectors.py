"""Vectors of texts: how documents hold them, and how pgvector stores them.

A document holds a vector as BSON's binary vector (subtype 9, 32-bit floats), as a list of numbers, or as pgvector's
text. pgvector stores 32-bit floats. `describe_form` says how a value follows from the stored vector, so that the value
need not be stored a second time. Not here: computing vectors (`embedding`).
"""

from __future__ import annotations

import json
import math
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from bson import Binary, Decimal128, Int64

from migrator.documents.codec import Document

Vector: TypeAlias = "array[float]"  # of type 'f': four bytes per number, as pgvector stores them
SUBTYPE, FLOAT32 = 9, b"\x27\x00"  # BSON's binary vector, and its header for 32-bit floats without padding
DIGITS = 9  # as many decimal digits identify every 32-bit float
_NUMBERS = frozenset({float, int, Int64, Decimal128})


def read_vector(value: Any) -> Vector | None:
    """Return the vector that a value of a document holds; None if it is no vector.

    Numbers are rounded to 32 bits; one beyond their range becomes infinite. The result is not checked otherwise
    (`check_vector`).
    """
    try:
        if isinstance(value, Binary):
            return _read_binary(value)
        numbers = json.loads(value, parse_int=float) if type(value) is str else value  # pgvector writes -0 for -0.0
        if type(numbers) is not list or not _NUMBERS.issuperset(map(type, numbers)):
            return None
        return array("f", map(_to_float, numbers))
    except (ValueError, OverflowError, RecursionError, ArithmeticError):
        return None


def _read_binary(value: Binary) -> Vector | None:
    if value.subtype != SUBTYPE or not value.startswith(FLOAT32) or len(value) % 4 != 2:
        return None
    vector = array("f", value[len(FLOAT32) :])
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def _to_float(number: Any) -> float:
    return float(number.to_decimal()) if type(number) is Decimal128 else float(number)


def check_vector(vector: Vector, dimensions: int) -> Vector | str:
    """Return the vector, or a message that says what is wrong with it."""
    if len(vector) != dimensions:
        return f"the vector has {len(vector)} dimensions instead of {dimensions}"
    if not math.isfinite(sum(vector)):  # the sum of finite 4-byte floats is a finite 8-byte float
        return "the vector contains NaN or infinity"
    return vector if any(vector) else "all elements of the vector are zero"


# --- as pgvector stores them -----------------------------------------------------------------------------------------


def pad(vector: Vector, width: int | None) -> Vector:
    """Pad a vector with zeros to `width` dimensions. This does not change angles or distances."""
    return vector if width is None else vector + array("f", bytes(4 * (width - len(vector))))


def to_binary(vector: Vector, width: int) -> bytes:
    """Return a vector in pgvector's binary format, padded to `width` dimensions."""
    padded = array("f", pad(vector, width))
    if sys.byteorder == "little":
        padded.byteswap()
    return struct.pack(">HH", width, 0) + padded.tobytes()


def from_binary(data: bytes, dimensions: int) -> Vector:
    """Return the first `dimensions` numbers of a vector in pgvector's binary format."""
    vector = array("f", data[4 : 4 + 4 * dimensions])
    if sys.byteorder == "little":
        vector.byteswap()
    return vector


def from_array(data: bytes) -> Binary:
    """Return BSON's binary vector of a `real[]` in PostgreSQL's binary format, which has no NULL and one dimension."""
    words = array("I", data[20:])  # behind the header: the length of a number, then the number, big-endian
    if sys.byteorder == "little":
        words.byteswap()
    return write_binary(array("f", words[1::2].tobytes()))


# --- forms -----------------------------------------------------------------------------------------------------------


def write_binary(vector: Vector) -> Binary:
    """Return a vector as BSON's binary vector."""
    little = array("f", vector)
    if sys.byteorder == "big":
        little.byteswap()
    return Binary(FLOAT32 + little.tobytes(), SUBTYPE)


def write_decimals(vector: Vector) -> list[str]:
    """Return for each number of a vector the shortest decimal text that identifies it."""
    texts = _format(vector, DIGITS)
    left: Sequence[int] = range(len(vector))
    for digits in range(DIGITS - 1, 5, -1):
        tried = _format([vector[place] for place in left], digits)
        exact = [(place, text) for place, text, number in zip(left, tried, array("f", map(float, tried)), strict=True)
                 if number == vector[place]]  # fmt: skip
        for place, text in exact:
            texts[place] = text
        left = [place for place, _ in exact]
        if not left:
            break
    return texts


def _format(numbers: Sequence[float], digits: int) -> list[str]:
    """Format all numbers at once, which takes half the time."""
    return (f"%.{digits}g " * len(numbers) % tuple(numbers)).split()


# A list of the numbers with all their digits; of the shortest decimals; pgvector's text.
_FORMS: dict[str, Callable[[Vector], Any]] = {
    "binary": write_binary,
    "floats": lambda vector: vector.tolist(),
    "decimals": lambda vector: list(map(float, write_decimals(vector))),
    "text": lambda vector: f"[{','.join(write_decimals(vector))}]",
}
_FORMS_OF_TYPE: dict[type[Any], tuple[str, ...]] = {Binary: ("binary",), list: ("floats", "decimals"), str: ("text",)}


def describe_form(value: Any, stored: bytes | None) -> Document | None:
    """Return how a value of a document follows from the stored vector; None if it does not.

    The result has the name of the form and the number of dimensions, because a stored vector may be padded.
    """
    vector = None if stored is None else read_vector(value)
    if vector is None:
        return None
    for form in _FORMS_OF_TYPE[type(value)]:
        if _is_same(_FORMS[form](vector), value):
            return {"form": form, "dimensions": len(vector)}
    return None


def restore_form(description: Document, stored: bytes | None) -> Any:
    """Return the value of a document that `describe_form` has described.

    Raises: ValueError if the row has no vector.
    """
    if stored is None:
        raise ValueError("the row has no vector")
    return _FORMS[description["form"]](from_binary(stored, description["dimensions"]))


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values of one form are equal to the bit. -0.0 is not 0.0, 1 is not 1.0."""
    if type(one) is not list:
        return bool(one == other)
    return set(map(type, other)) <= {float} and array("d", one).tobytes() == array("d", other).tobytes()
