"""Codecs: convert a BSON value to the plain value of a column, and back.

Plain values: text, enum → str; uuid → 16 bytes; timestamp → microseconds since 1970 as int; integer → int;
boolean → bool; jsonb → JSON in its normal form (`documents.jsonb`). `read` returns UNREADABLE for a value that it
cannot convert, and may record a finding with the reason. The rule decides what happens then. No I/O here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Protocol

from bson import Decimal128, ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS

from migrator import ids
from migrator.documents import jsonb
from migrator.documents.jsonb import Note


class Unreadable:
    """The result of `read` for a value that it cannot convert."""


UNREADABLE: Final = Unreadable()


class Codec(Protocol):
    """A pair of conversions. `write(read(v))` is v for the usual values of the source; others need a residue."""

    def read(self, value: Any, note: Note, path: str) -> Any: ...

    def write(self, plain: Any) -> Any: ...


# A btree entry may have a third of a page, which is 2704 bytes. The limit here is lower, for multi-column headers.
INDEXABLE_BYTES = 2600


@dataclass(frozen=True, slots=True)
class Text:
    """str ↔ text. Numbers, booleans and code are converted to their usual text. `most`: the largest size in bytes."""

    most: int | None = None

    def read(self, value: Any, note: Note, path: str) -> Any:
        text = _text_of(value)
        if text is None:
            return UNREADABLE
        if type(value) is not str:
            note("coerced", path)
        text = jsonb.remove_nul(text, note, path)
        if self.most is not None and len(text.encode()) > self.most:
            note("too_long", f"{path}: more than {self.most} bytes")
            return UNREADABLE
        return text

    def write(self, plain: str) -> str:
        return plain


def _text_of(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value)  # bson.Code is a str, too, but must not stay one
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal128 | ObjectId):
        return str(value)
    return None


@dataclass(frozen=True, slots=True)
class Integer:
    """Int32 ↔ integer. Whole numbers of other types, and texts of them, are converted if they are in the range."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        number = number_of(value)
        if number is None or number != number.to_integral_value() or not -(2**31) <= number < 2**31:
            return UNREADABLE
        if type(value) is not int:
            note("coerced", path)
        return int(number)

    def write(self, plain: int) -> int:
        return plain


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
    return _number_of_text(value) if isinstance(value, str) else None


_NUMBER = re.compile(r"\s*[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?\s*", re.ASCII)


def _number_of_text(text: str) -> Decimal | None:
    return Decimal(text.strip()) if _NUMBER.fullmatch(text) else None


_TRUTH = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}


@dataclass(frozen=True, slots=True)
class Boolean:
    """bool ↔ boolean. "true", "false", 1 and 0 are converted."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        if isinstance(value, bool):
            return value
        key = value.strip().lower() if isinstance(value, str) else value
        if isinstance(key, str | int | float) and key in _TRUTH:
            note("coerced", path)
            return _TRUTH[key]
        return UNREADABLE

    def write(self, plain: bool) -> bool:
        return plain


# The earliest timestamp of PostgreSQL and the end of the year 9999, in microseconds since 1970.
EARLIEST = -210_866_803_200_000_000
LATEST = 253_402_300_799_999_999


@dataclass(frozen=True, slots=True)
class DateTime:
    """Date ↔ timestamp without time zone, in UTC. Texts and numbers with a date are converted (`date_coerced`)."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        micros = int(value) * 1000 if isinstance(value, DatetimeMS) else _micros_of(value)
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


def _micros_of(value: Any) -> int | None:
    if isinstance(value, Timestamp):
        return value.time * 1_000_000
    if isinstance(value, str):
        return _micros_of_text(value)
    if isinstance(value, Mapping):
        inner = value.get("$date", value.get("$numberLong")) if len(value) == 1 else None
        return None if inner is None else int(inner) * 1000 if isinstance(inner, DatetimeMS) else _micros_of(inner)
    number = number_of(value)
    return None if number is None or abs(number) > 10**17 else int(number * 1000)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JAVASCRIPT = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2} \d{2} [+-]?\d{4,6} \d{2}:\d{2}:\d{2}) GMT([+-]\d{4})(?: \(.*\))?", re.DOTALL
)
_EXPANDED_YEAR = re.compile(r"[+-]\d{6}-\d{2}-\d{2}T.*", re.DOTALL)
_ISO = re.compile(r"\d{4}-?\d{2}-?\d{2}.*", re.DOTALL)


def _micros_of_text(text: str) -> int | None:
    text = text.strip()
    number = _number_of_text(text)
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
        return _micros_of_text(f"{year:04d}{text[7:]}")
    return (year - 1970) * 31_556_952_000_000


@dataclass(frozen=True, slots=True)
class Enum:
    """One of the texts `values`, ignoring case ↔ enum label. `spelling` returns the spelling of the source."""

    values: tuple[str, ...]
    spelling: Callable[[str], str] = str

    def read(self, value: Any, note: Note, path: str) -> Any:
        if isinstance(value, str):
            label = value.strip().lower()
            if label in self.values:
                return label
            note("unknown_enum", path)
        return UNREADABLE

    def write(self, plain: str) -> str:
        return self.spelling(plain)


@dataclass(frozen=True, slots=True)
class Json:
    """Any value ↔ jsonb. With a `shape`, only documents or only arrays."""

    shape: type[dict[str, Any]] | type[list[Any]] | None = None

    def read(self, value: Any, note: Note, path: str) -> Any:
        if self.shape is not None and not isinstance(value, self.shape):
            return UNREADABLE
        return jsonb.normalize(jsonb.clean(value, note, path))

    def write(self, plain: Any) -> Any:
        return plain


@dataclass(frozen=True, slots=True)
class JsonDateTime:
    """Date ↔ ISO text inside jsonb, as JavaScript writes it. Texts and numbers with a date are converted."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        micros = DATETIME.read(value, note, path)
        text = UNREADABLE if micros is UNREADABLE else jsonb.iso_text(micros // 1000)
        if text is None:
            note("date_out_of_range", path)
        return UNREADABLE if text is None else text

    def write(self, plain: str) -> Any:
        micros = _micros_of_text(plain)
        return UNREADABLE if micros is None else DatetimeMS(micros // 1000)


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """BSON number ↔ number inside jsonb. Texts of numbers are converted. NaN and Infinity become null."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal128 | str):
            return UNREADABLE
        if not isinstance(value, str):
            return jsonb.normalize(jsonb.clean(value, note, path))
        number = number_of(value)
        if number is None:
            return UNREADABLE
        note("coerced", path)
        return jsonb.normalize(number)

    def write(self, plain: Any) -> Any:
        return plain


@dataclass(frozen=True, slots=True)
class ObjectIdText:
    """UUIDv7 of an ObjectId → the ObjectId, or with `as_text` its 24 hexadecimal digits.

    Only `write` exists. The opposite conversion is a lookup, which the rule of the reference does.
    """

    as_text: bool = False

    def write(self, plain: bytes) -> Any:
        return _objectid_of(plain, self.as_text)


@lru_cache(maxsize=65_536)  # many rows refer to the same row
def _objectid_of(plain: bytes, as_text: bool) -> Any:
    found = ids.uuid_to_objectid(plain)
    if found is None:
        return UNREADABLE
    return found[0].hex() if as_text else ObjectId(found[0])


TEXT, INTEGER, BOOLEAN, DATETIME, JSON = Text(), Integer(), Boolean(), DateTime(), Json()
NUMBER, JSON_DATETIME, JSON_OBJECT, JSON_ARRAY = JsonNumber(), JsonDateTime(), Json(dict), Json(list)
INDEXED_TEXT = Text(most=INDEXABLE_BYTES)
