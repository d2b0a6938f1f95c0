"""Reads exact numbers from BSON values and texts."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from bson import Decimal128


def number_of(value: Any) -> Decimal | None:
    """Return the exact value of a BSON number, or of a text with a number; None for other values, NaN and Infinity."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(value, Decimal128):
        number = value.to_decimal()
        return number if number.is_finite() else None
    return number_of_text(value) if isinstance(value, str) else None


_NUMBER = re.compile(r"\s*[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?\s*", re.ASCII)


def number_of_text(text: str) -> Decimal | None:
    """Return the number in a text, if it is one."""
    return Decimal(text.strip()) if _NUMBER.fullmatch(text) else None
