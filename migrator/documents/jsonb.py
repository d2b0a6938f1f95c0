"""BSON values as JSON that jsonb accepts, and jsonb values as they come back.

jsonb has a normal form: keys ordered by length then bytes, numbers without exponent, no minus on zero. What goes into a
column is therefore computed in that form, so that the way back can be judged before the row is written.
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

# jsonb keeps numbers as numeric: at most 131072 digits before the point and 16383 after it.
_MOST_DIGITS, _MOST_SCALE = 131072, 16383


def clean(value: Any, note: Note, path: str) -> Any:
    """A BSON value as JSON: str, int, float, Decimal, bool, None, list, dict; findings for what had to change."""
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
    """PostgreSQL's text and jsonb cannot hold U+0000."""
    if "\0" not in text:
        return text
    note("nul_removed", path)
    return text.replace("\0", "")


def _clean_number(value: float | Decimal128, note: Note, path: str) -> Any:
    number = value if isinstance(value, float) else value.to_decimal()
    # Not math.isfinite() for both: it makes doubles of Decimals, and 1E+400 is none.
    if not (math.isfinite(number) if isinstance(number, float) else number.is_finite()):
        note("non_finite", path)
        return None
    if isinstance(number, Decimal) and not _fits_numeric(number):
        note("non_finite", f"{path}: beyond PostgreSQL's numeric")
        return None
    return number


def _fits_numeric(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and number.adjusted() < _MOST_DIGITS and -exponent <= _MOST_SCALE


def _clean_other(value: Any, note: Note, path: str) -> Any:
    if isinstance(value, DatetimeMS):
        text = iso_text(int(value))
        if text is not None:
            return text
    # Binary, regex, code, Timestamp, DBRef …: extended JSON says all of it.
    canonical = json_util.dumps({"": value}, json_options=json_util.CANONICAL_JSON_OPTIONS)
    return clean(json.loads(canonical)[""], note, path)


def iso_text(milliseconds: int) -> str | None:
    """Milliseconds since 1970 as JavaScript's toISOString() gives them; None outside the years 1 to 9999."""
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds") + "Z"


def to_text(value: Any) -> str:
    """A cleaned value as JSON text; numbers exactly, in the form that jsonb keeps."""
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
    """A cleaned value as it will come back from jsonb: see `from_text`."""
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
    spelled = repr(number)
    # A Decimal128 has 34 digits; and a double from 1e16 on would be written without its point.
    return number if "e+" not in spelled and Decimal(spelled) == Decimal(text) else Decimal(text)


def _integer_from_text(text: str) -> int | Decimal:
    # Python refuses to read integers of more than 4300 digits; Decimal128 goes up to 6145.
    return int(text) if len(text) < 4000 else Decimal(text)


def from_text(text: str | bytes) -> Any:
    """jsonb's text as Python values: a number with a point is a float, one without an int.

    Where a float is not the exact number, it is a Decimal."""
    return json.loads(text, parse_int=_integer_from_text, parse_float=_fraction_from_text)
