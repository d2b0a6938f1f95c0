"""Codecs: convert a BSON value to the plain value of a column, and back.

Plain values: text, enum → str; uuid → 16 bytes; timestamp → microseconds since 1970 as int; integer → int;
boolean → bool; jsonb → JSON in its normal form (`documents.jsonb`). `read` returns UNREADABLE for a value that it
cannot convert, and may record a finding with the reason. The rule decides what happens then. No I/O here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

from bson import Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS

from migrator import ids
from migrator.documents import jsonb
from migrator.documents.jsonb import Note
from migrator.mapping.dates import EARLIEST, LATEST, micros_of, micros_of_text
from migrator.mapping.numbers import number_of


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
    """Int32 ↔ integer. Whole numbers of other types, and texts of them, are converted if they are in the range.

    A long or double in the range is the usual form of a number for many drivers, so it is no finding.
    """

    def read(self, value: Any, note: Note, path: str) -> Any:
        number = number_of(value)
        if number is None or number != number.to_integral_value() or not -(2**31) <= number < 2**31:
            return UNREADABLE
        if not isinstance(value, int | float):
            note("coerced", path)
        return int(number)

    def write(self, plain: int) -> int:
        return plain


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


@dataclass(frozen=True, slots=True)
class DateTime:
    """Date ↔ timestamp without time zone, in UTC. Texts and numbers with a date are converted (`date_coerced`)."""

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


@dataclass(frozen=True, slots=True)
class Enum:
    """One of the texts `values` ↔ enum label. `spelling` returns the spelling of the source.

    Only the case of ASCII letters is ignored: a blank around a label, or a letter of another alphabet that lower()
    would convert to ASCII, makes another value.
    """

    values: tuple[str, ...]
    spelling: Callable[[str], str] = str

    def read(self, value: Any, note: Note, path: str) -> Any:
        if not isinstance(value, str):
            return UNREADABLE
        label = value.lower() if value.isascii() else value
        if label not in self.values:
            note("unknown_enum", path)
            return UNREADABLE
        if type(value) is not str:  # bson.Code
            note("coerced", path)
        return label

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
        micros = micros_of_text(plain)
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
