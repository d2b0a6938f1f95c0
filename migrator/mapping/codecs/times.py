"""Codecs of columns with dates and times.

Plain values are int: microseconds since 1970 for timestamps, days since 1970 for dates, microseconds since midnight for
times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from bson.datetime_ms import DatetimeMS

from migrator.documents.jsonb import Note
from migrator.mapping.codecs.base import UNREADABLE
from migrator.mapping.dates import EARLIEST, LATEST, micros_of

DAY = 86_400_000_000  # microseconds
_EPOCH = date(1970, 1, 1)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,6}))?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class DateTime:
    """Date ↔ timestamp, in UTC. Texts and numbers with a date are converted (`date_coerced`)."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        micros = int(value) * 1000 if isinstance(value, DatetimeMS) else micros_of(value)
        if micros is None:
            return UNREADABLE
        if not EARLIEST <= micros <= LATEST:
            note("date_out_of_range", path)
            return UNREADABLE
        if not isinstance(value, DatetimeMS):
            note("date_coerced", path)
        return micros

    def write(self, plain: int) -> DatetimeMS:
        return DatetimeMS(plain // 1000)


DATETIME = DateTime()


@dataclass(frozen=True, slots=True)
class Date:
    """Date at midnight UTC, or with `restore="text"` a text as 2024-05-31 ↔ date. The time of day is cut off."""

    restore: Literal["date", "text"] = "date"

    def read(self, value: Any, note: Note, path: str) -> Any:
        if self.restore == "text" and type(value) is str and _DATE.fullmatch(value):
            return _days_of(value)
        micros = DATETIME.read(value, note, path)
        if micros is UNREADABLE:
            return micros
        if micros % DAY:
            note("rounded", path)
        return micros // DAY

    def write(self, plain: int) -> Any:
        if self.restore == "date":
            return DatetimeMS(plain * 86_400_000)
        try:
            return (_EPOCH + timedelta(days=plain)).isoformat()
        except OverflowError:  # a date of PostgreSQL that Python does not have
            return UNREADABLE


def _days_of(text: str) -> Any:
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        return UNREADABLE


@dataclass(frozen=True, slots=True)
class Time:
    """Text as 09:30 or 09:30:00.25 ↔ time. With `seconds`, the field always has them."""

    seconds: bool = False

    def read(self, value: Any, note: Note, path: str) -> Any:
        found = _TIME.fullmatch(value) if type(value) is str else None
        if found is None:
            return UNREADABLE
        hours, minutes, seconds, fraction = found.groups(default="0")
        return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1_000_000 + int(fraction.ljust(6, "0"))

    def write(self, plain: int) -> str:
        seconds, fraction = divmod(plain, 1_000_000)
        text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
        if self.seconds or seconds % 60 or fraction:
            text += f":{seconds % 60:02d}"
        return text + (f".{fraction:06d}".rstrip("0") if fraction else "")


DATE, TIME = Date(), Time()
