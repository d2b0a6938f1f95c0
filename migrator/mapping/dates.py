"""Reads dates in the formats that applications store: BSON, ISO texts, texts of JavaScript, numbers.

All dates become microseconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Timestamp
from bson.datetime_ms import DatetimeMS

from migrator.mapping.numbers import number_of, number_of_text

# The earliest timestamp of PostgreSQL and the end of the year 9999, in microseconds since 1970.
EARLIEST = -210_866_803_200_000_000
LATEST = 253_402_300_799_999_999


def micros_of(value: Any) -> int | None:
    """Return the microseconds since 1970 of a date that is not a BSON date; None if it is no date."""
    if isinstance(value, Timestamp):
        return value.time * 1_000_000
    if isinstance(value, str):
        return micros_of_text(value)
    if isinstance(value, Mapping):
        inner = value.get("$date", value.get("$numberLong")) if len(value) == 1 else None
        return None if inner is None else int(inner) * 1000 if isinstance(inner, DatetimeMS) else micros_of(inner)
    number = number_of(value)
    return None if number is None or abs(number) > 10**17 else int(number * 1000)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JAVASCRIPT = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2} \d{2} [+-]?\d{4,6} \d{2}:\d{2}:\d{2}) GMT([+-]\d{4})(?: \(.*\))?", re.DOTALL
)
_EXPANDED_YEAR = re.compile(r"[+-]\d{6}-\d{2}-\d{2}T.*", re.DOTALL)
_ISO = re.compile(r"\d{4}-?\d{2}-?\d{2}.*", re.DOTALL)


def micros_of_text(text: str) -> int | None:
    """Return the microseconds since 1970 of a text; None if it is no date."""
    text = text.strip()
    number = number_of_text(text)
    if number is not None and not (_ISO.fullmatch(text) and len(text) == 8):
        return int(number * 1000) if abs(number) <= 10**17 else None
    if _EXPANDED_YEAR.fullmatch(text):
        return _micros_of_expanded(text)
    try:
        moment = _parse_javascript(text) or (datetime.fromisoformat(text) if _ISO.fullmatch(text) else None)
    except ValueError:
        return None
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _parse_javascript(text: str) -> datetime | None:
    found = _JAVASCRIPT.fullmatch(text)
    return datetime.strptime(f"{found[1]} {found[2]}", "%b %d %Y %H:%M:%S %z") if found else None


def _micros_of_expanded(text: str) -> int | None:
    # JavaScript's ±YYYYYY. Years beyond 9999 are out of range, so the day within the year need not be exact.
    year = int(text[:7])
    if 1 <= year <= 9999:
        return micros_of_text(f"{year:04d}{text[7:]}")
    return (year - 1970) * 31_556_952_000_000
