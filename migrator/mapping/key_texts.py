"""The text of a key of several columns: a JSON array with the text of each value, as PostgreSQL writes it.

`["4b1c…", "2024-05-31 00:00:00+00"]`, for example. Both sides compose the same text: this module from plain values,
`state.row_keys` in SQL. The session fixes how PostgreSQL writes dates and bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from migrator.ids import uuid_text

_DAY: Final = 86_400_000_000  # microseconds
# Days from 1970-01-01 to 0000-03-01, and of 400 years: the calendar repeats itself then.
_FIRST, _CYCLE = 719_468, 146_097
# Infinite dates and timestamps are the largest and the smallest numbers, moved as plain values are (`copy_format`).
_INFINITE: Final = {
    "date": {2**31 - 1 + 10_957: "infinity", -(2**31) + 10_957: "-infinity"},
    "timestamp": {2**63 - 1 + 946_684_800_000_000: "infinity", -(2**63) + 946_684_800_000_000: "-infinity"},
}
_MOMENT = re.compile(r"(\d+)-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?(?:\+00)?( BC)?", re.ASCII)


def join_key(texts: Sequence[str]) -> str:
    """Return the text of a key of several columns."""
    return json.dumps(texts, ensure_ascii=False)


def split_key(text: str, count: int) -> list[str]:
    """Return the texts of the columns of a key.

    Raises: `ValueError` if the text is that of no such key.
    """
    found = json.loads(text)
    if not isinstance(found, list) or len(found) != count or not all(type(each) is str for each in found):
        raise ValueError("not the text of a key")
    return found


def formatter(kind: str) -> Callable[[Any], str]:
    """Return the function that writes a plain value of a kind as PostgreSQL casts it to text."""
    return _FORMATS[kind]


def parser(kind: str) -> Callable[[str], Any]:
    """Return the function that reads the plain value of such a text. It raises `ValueError`."""
    return _PARSERS[kind]


def _format_date(days: int) -> str:
    if days in _INFINITE["date"]:
        return _INFINITE["date"][days]
    year, text = _year_of(days)
    return f"{year}{text}" if days >= _YEAR_ONE else f"{year}{text} BC"


def _format_timestamp(micros: int, zone: str = "") -> str:
    if micros in _INFINITE["timestamp"]:
        return _INFINITE["timestamp"][micros]
    days, rest = divmod(micros, _DAY)
    year, text = _year_of(days)
    seconds, fraction = divmod(rest, 1_000_000)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    part = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{year}{text} {clock}{part}{zone}{'' if days >= _YEAR_ONE else ' BC'}"


def _format_timestamptz(micros: int) -> str:
    return _format_timestamp(micros, "" if micros in _INFINITE["timestamp"] else "+00")


def _year_of(days: int) -> tuple[str, str]:
    """Return the year (1 BC is the year 0), as text without its era, and the rest of a date."""
    cycle, day = divmod(days + _FIRST, _CYCLE)
    year = (day - day // 1460 + day // 36_524 - day // (_CYCLE - 1)) // 365
    of_year = day - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    of_month = of_year - (153 * month + 2) // 5 + 1
    year += cycle * 400 + (month >= 10)
    shown = year if year > 0 else 1 - year
    return f"{shown:04d}", f"-{month + 3 if month < 10 else month - 9:02d}-{of_month:02d}"


_YEAR_ONE: Final = -719_162  # 0001-01-01, in days since 1970


def _days(year: int, month: int, day: int) -> int:
    year -= month <= 2
    cycle, of_cycle = divmod(year, 400)
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return cycle * _CYCLE + of_cycle * 365 + of_cycle // 4 - of_cycle // 100 + of_year - _FIRST


def _parse_date(text: str) -> int:
    return _parse_infinite("date", text) if "infinity" in text else _parse_moment(text) // _DAY


def _parse_timestamp(text: str) -> int:
    return _parse_infinite("timestamp", text) if "infinity" in text else _parse_moment(text)


def _parse_infinite(kind: str, text: str) -> int:
    found = next((plain for plain, name in _INFINITE[kind].items() if name == text), None)
    if found is None:
        raise ValueError("not a date")
    return found


def _parse_moment(text: str) -> int:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError("not a date")
    year, month, day, hours, minutes, seconds = (int(each or 0) for each in found.groups()[:6])
    fraction = int((found[7] or "0").ljust(6, "0"))
    clock = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction
    return _days(1 - year if found[8] else year, month, day) * _DAY + clock


def _parse_uuid(text: str) -> bytes:
    found = bytes.fromhex(text.replace("-", ""))
    if uuid_text(found) != text:
        raise ValueError("not a UUID")
    return found


def _parse_bytes(text: str) -> bytes:
    if not text.startswith("\\x"):
        raise ValueError("not bytes")
    return bytes.fromhex(text[2:])


def _parse_boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("not a boolean")
    return text == "true"


_FORMATS: Final[dict[str, Callable[[Any], str]]] = {
    "uuid": uuid_text,
    "text": str,
    "smallint": str,
    "integer": str,
    "bigint": str,
    "bytea": lambda plain: f"\\x{plain.hex()}",
    "boolean": lambda plain: "true" if plain else "false",
    "date": _format_date,
    "timestamp": _format_timestamp,
    "timestamptz": _format_timestamptz,
}
_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "uuid": _parse_uuid,
    "text": str,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "bytea": _parse_bytes,
    "boolean": _parse_boolean,
    "date": _parse_date,
    "timestamp": _parse_timestamp,
    "timestamptz": _parse_timestamp,
}
KINDS: Final = frozenset(_FORMATS)
