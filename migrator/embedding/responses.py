"""Checks the responses of a service text by text: an invalid vector says nothing about the others."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Any

from migrator.documents.vectors import Vector, check_vector


def read_response(data: Any, count: int, dimensions: int) -> list[Vector | str]:
    """Return for each of `count` texts its vector, or a message that says what is wrong with it.

    `data`: the entries of the response, each with `index` and `embedding`, in the order of the texts. An entry in the
    wrong position is invalid even if its index is valid, because either of the two may be wrong.
    """
    entries = data if isinstance(data, list) else []
    if len(entries) > count:
        return ["the response has more vectors than texts"] * count
    indexes = [_index_of(entry) for entry in entries]
    if _are_constant(indexes):  # no evidence of the order, except that every text has its vector
        if len(entries) < count:
            return ["the response has too few vectors"] * count
        indexes = list(range(count))
    elif indexes == list(range(1, count + 1)):
        indexes = list(range(count))
    return [
        _read_entry(entries[place], indexes[place] == place, dimensions)
        if place < len(entries)
        else "the response has too few vectors"
        for place in range(count)
    ]


def _index_of(entry: Any) -> int | None:
    """Return the index of an entry as a number; None if it has none."""
    index = entry.get("index") if isinstance(entry, dict) else None
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) < 10:
        return int(index)
    return index if type(index) is int else None


def _are_constant(indexes: list[int | None]) -> bool:
    """Return whether the service does not number its entries: all have the same index, or none has one."""
    return len(set(indexes)) == 1 and (len(indexes) > 1 or indexes[0] != 0)


def _read_entry(entry: Any, in_order: bool, dimensions: int) -> Vector | str:
    if not isinstance(entry, dict) or not in_order:
        return "the response is out of order"
    vector = _read_vector(entry.get("embedding"))
    return "the vector is not readable" if vector is None else check_vector(vector, dimensions)


def _read_vector(value: Any) -> Vector | None:
    """Return a vector from base64 of little-endian floats or from a list of numbers; None if it is neither."""
    try:
        if not isinstance(value, str):
            return array("f", value)
        vector = array("f", base64.b64decode(value, validate=True))
    except (TypeError, ValueError, OverflowError, binascii.Error):
        return None
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
