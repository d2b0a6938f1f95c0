"""What a service answers, looked at text by text: what is wrong with one vector says nothing of its neighbours."""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from typing import Any

from migrator.embedding.provider import Vector


def read_answer(data: Any, count: int, dimensions: int) -> list[Vector | str]:
    """For each of `count` texts its vector, or what is wrong with it.

    `data` are the entries of the answer: each with `index` and `embedding`, in the order of the texts. An entry in
    the place of another is wrong even if it says whose it is: whether the order is wrong or the label, nobody can tell.
    """
    entries = data if isinstance(data, list) else []
    if len(entries) > count:
        return ["the answer has more vectors than texts"] * count
    return [
        _read_entry(entries[place], place, dimensions) if place < len(entries) else "the answer is short"
        for place in range(count)
    ]


def _read_entry(entry: Any, place: int, dimensions: int) -> Vector | str:
    if not isinstance(entry, dict) or entry.get("index") != place:
        return "the answer is out of order"
    vector = _read_vector(entry.get("embedding"))
    return "the vector cannot be read" if vector is None else check_vector(vector, dimensions)


def _read_vector(value: Any) -> Vector | None:
    """From base64 of little-endian floats, or a list of numbers."""
    try:
        if not isinstance(value, str):
            return array("f", value)
        vector = array("f", base64.b64decode(value, validate=True))
    except (TypeError, ValueError, OverflowError, binascii.Error):
        return None
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def check_vector(vector: Vector, dimensions: int) -> Vector | str:
    """The vector, or what is wrong with it."""
    if len(vector) != dimensions:
        return f"the vector has {len(vector)} dimensions instead of {dimensions}"
    if not math.isfinite(sum(vector)):  # a sum of finite floats of four bytes is a finite one of eight
        return "the vector has numbers that are none"
    return vector if any(vector) else "the vector is all zero"
