"""Whether plain values are equal: a NaN is equal to itself, and -0.0 is not 0.0. Pure functions."""

from __future__ import annotations

from typing import Any

from migrator.documents.codec import same


def equal(one: Any, other: Any) -> bool:
    """Return whether two plain values of a column, or the rows of elements, are equal."""
    kind = type(one)
    if kind is float and type(other) is float:
        return same(one, other)
    if kind is list and type(other) is list:
        return len(one) == len(other) and all(map(equal, one, other))
    if kind is dict and type(other) is dict:
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    return bool(one == other)
