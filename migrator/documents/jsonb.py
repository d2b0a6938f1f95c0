"""Converts BSON values to JSON that jsonb accepts, and reads jsonb values.

jsonb has a normal form: keys are ordered by length, then bytes; numbers have no exponent; zero has no sign. Values are
computed in this form before they are written, so that it is known in advance what the row will restore.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from bson import Code, Decimal128, ObjectId, json_util
from bson.datetime_ms import DatetimeMS

Note = Callable[[str, str], None]

# jsonb stores numbers as numeric: at most 131072 digits before the decimal point and 16383 after it.
_MAX_DIGITS, _MAX_SCALE = 131072, 16383


def clean(value: Any, note: Note, path: str) -> Any:
    """Return a BSON value as JSON (str, int, float, Decimal, bool, None, list, dict); record changes as findings."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and not isinstance(value, Code):
        return remove_nul(value, note, path)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | Decimal128):
        return _clean_number(value, note, path)
    if isinstance(value, Mapping):
        return {key: clean(item, note, path) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, note, path) for item in value]
    if isinstance(value, ObjectId):
        return str(value)
    return _clean_other(value, note, path)


def remove_nul(text: str, note: Note, path: str) -> str:
    """Return a text without U+0000, which text and jsonb of PostgreSQL cannot hold."""
    if "\0" not in text:
        return text
    note("nul_removed", path)
    return text.replace("\0", "")


def _clean_number(value: float | Decimal128, note: Note, path: str) -> Any:
    number = value if isinstance(value, float) else value.to_decimal()
    # math.isfinite() does not do for Decimals: it converts them to double, which cannot hold 1E+400.
    if not (math.isfinite(number) if isinstance(number, float) else number.is_finite()):
        note("non_finite", path)
        return None
    if isinstance(number, Decimal) and not _fits_numeric(number):
        note("non_finite", f"{path}: out of range of numeric")
        return None
    return number


def _fits_numeric(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and number.adjusted() < _MAX_DIGITS and -exponent <= _MAX_SCALE


def _clean_other(value: Any, note: Note, path: str) -> Any:
    if isinstance(value, DatetimeMS):
        text = iso_text(int(value))
        if text is not None:
            return text
    # Binary, regex, code, Timestamp, DBRef …: extended JSON represents them completely.
    canonical = json_util.dumps({"": value}, json_options=json_util.CANONICAL_JSON_OPTIONS)
    return clean(json.loads(canonical)[""], note, path)


def iso_text(milliseconds: int) -> str | None:
    """Return milliseconds since 1970 as text, like toISOString() of JavaScript; None outside the years 1 to 9999."""
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds") + "Z"


def to_text(value: Any) -> str:
    """Return a cleaned value as JSON text. Numbers are exact, in the normal form of jsonb."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quote(k)}:{to_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_text, value)) + "]"
    if isinstance(value, float | Decimal):
        return _plain_number(value)
    return json.dumps(value, ensure_ascii=False)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _plain_number(value: float | Decimal) -> str:
    number = Decimal(repr(value)) if isinstance(value, float) else value
    text = format(number, "f")
    return text if number else text.lstrip("-")


def normalize(value: Any) -> Any:
    """Return a cleaned value as `from_text` will read it from jsonb."""
    if isinstance(value, dict):
        return {key: normalize(value[key]) for key in sorted(value, key=_key_order)}
    if isinstance(value, list):
        return [normalize(item) for item in value]
    if isinstance(value, float | Decimal):
        return _number_from_text(_plain_number(value))
    return value


def _key_order(key: str) -> tuple[int, bytes]:
    encoded = key.encode()
    return len(encoded), encoded


def _number_from_text(text: str) -> int | float | Decimal:
    return _fraction_from_text(text) if "." in text else _integer_from_text(text)


def _fraction_from_text(text: str) -> float | Decimal:
    number = float(text)
    shortest = repr(number)
    # A Decimal128 has 34 digits, more than a double. A double from 1e16 on would be written without a decimal point.
    return number if "e+" not in shortest and Decimal(shortest) == Decimal(text) else Decimal(text)


def _integer_from_text(text: str) -> int | Decimal:
    # Python refuses to read integers of more than 4300 digits. A Decimal128 can have 6145.
    return int(text) if len(text) < 4000 else Decimal(text)


def from_text(text: str | bytes) -> Any:
    """Return the text of a jsonb value as Python values. A number with a decimal point is a float, else an int.

    A number that a float cannot represent exactly is a Decimal.
    """
    return json.loads(text, parse_int=_integer_from_text, parse_float=_fraction_from_text)
