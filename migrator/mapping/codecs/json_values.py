"""Codecs of json and jsonb columns, and of the values inside them. Plain values are JSON in its normal form
(`documents.jsonb`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bson import Decimal128
from bson.datetime_ms import DatetimeMS

from migrator.documents import jsonb
from migrator.documents.jsonb import Note
from migrator.mapping.codecs.base import UNREADABLE
from migrator.mapping.codecs.times import DATETIME
from migrator.mapping.dates import micros_of_text
from migrator.mapping.numbers import number_of


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


JSON, JSON_OBJECT, JSON_ARRAY = Json(), Json(dict), Json(list)
NUMBER, JSON_DATETIME = JsonNumber(), JsonDateTime()
