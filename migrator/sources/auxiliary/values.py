"""Converts values of a relational row from the text form of PostgreSQL or an export to equal BSON values.

A text stays text if it is not a value of its kind, or if BSON cannot represent the value exactly (microseconds,
integers beyond 64 bits, an object with a duplicate name).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

from migrator.documents.codec import decode, encode, same

_INTEGER = re.compile(r"0|-?[1-9]\d{0,18}", re.ASCII)
_TRUTH = {"true": True, "t": True, "false": False, "f": False}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _NotConvertibleError(ValueError):
    """The value stays text."""


def parse(text: str, kind: str) -> Any:
    """Return the value of a text; kinds: text, integer, number, float, boolean, json, timestamp. Never None."""
    if kind == "text":
        return text
    try:
        return _KINDS[kind](text)
    except (ValueError, ArithmeticError, RecursionError):
        return text


def _parse_integer(text: str) -> int:
    number = int(text) if _INTEGER.fullmatch(text) else None
    if number is None or not -(2**63) <= number < 2**63:
        raise _NotConvertibleError
    return number


def _parse_number(text: str) -> Decimal128:
    number = Decimal128(text)
    if str(number) != text:
        raise _NotConvertibleError
    return number


def _parse_boolean(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise _NotConvertibleError
    return _TRUTH[text.lower()]


def _parse_timestamp(text: str) -> DatetimeMS:
    timestamp = datetime.fromisoformat(text)
    timestamp = timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=UTC)
    milliseconds, rest = divmod(timestamp - _EPOCH, timedelta(milliseconds=1))
    if rest or len(text) < 16:  # a date without a time is not a timestamp
        raise _NotConvertibleError
    return DatetimeMS(milliseconds)


def parse_json(text: str) -> Any:
    """Return a JSON text as BSON values. Raises: ValueError if BSON cannot represent it exactly."""
    value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_exact_float)
    if value is None or not _round_trips(value):  # JSON null is not the same as NULL
        raise _NotConvertibleError
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotConvertibleError
    return found


def _refuse(name: str) -> Any:
    raise _NotConvertibleError(name)


def _exact_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or Decimal(repr(number)) != Decimal(text):
        raise _NotConvertibleError
    return number


def _round_trips(value: Any) -> bool:
    try:
        return same(decode(encode({"": value}))[""], value)
    except (BSONError, OverflowError, RecursionError, ValueError):
        return False


_KINDS: dict[str, Callable[[str], Any]] = {
    "integer": _parse_integer,
    "number": _parse_number,
    "float": float,
    "boolean": _parse_boolean,
    "json": parse_json,
    "timestamp": _parse_timestamp,
}
