"""Reads JSON as values that BSON can hold: exact numbers of any size, and texts that are valid UTF-8.

What BSON cannot hold is replaced, and reported as changed, so that the caller can keep the original text: an unpaired
surrogate, NUL in a name, a duplicate name, a number with more than 34 digits. Not here: values of a known type
(`values`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from bson import Decimal128

Document = dict[str, Any]
_SURROGATE = re.compile("[\ud800-\udfff]")
_INT64_DIGITS = 18  # any integer with so many digits fits
_DOUBLE_LENGTH = 16  # 15 digits and the point


class JsonText:
    """The value of one JSON text. `changed`: whether something was replaced, so that the value is not the text's.

    Raises: ValueError (not JSON), RecursionError (nested too deeply).
    """

    def __init__(self, text: str, hook: Callable[[Document], Any] = lambda found: found) -> None:
        """`hook` converts each object, as `object_hook` of json.loads."""
        self.changed = False
        self._hook = hook
        self._has_escapes = "\\u" in text
        value = json.loads(
            text, object_pairs_hook=self._read_object, parse_int=self._read_integer, parse_float=self._read_fraction
        )
        self.value = self._replace(value) if self._has_escapes else value

    def _read_object(self, pairs: list[tuple[str, Any]]) -> Any:
        found: Document = {}
        for name, value in pairs:
            found[self._read_name(name) if self._has_escapes else name] = value
        self.changed |= len(found) != len(pairs)
        return self._hook(found)

    def _read_name(self, name: str) -> str:
        valid = self._replace_surrogates(name).replace("\0", "")
        self.changed |= valid != name
        return valid

    def _read_integer(self, text: str) -> Any:
        if len(text) <= _INT64_DIGITS:
            return int(text)
        # Python refuses to read integers of more than 4300 digits.
        number = int(text) if len(text) <= 20 else None
        return number if number is not None and -(2**63) <= number < 2**63 else self._read_decimal(text)

    def _read_fraction(self, text: str) -> Any:
        number = float(text)
        # The usual numbers of vectors, checked without Decimal. 15 digits identify a double, except in exponents.
        if repr(number) == text or (len(text) <= _DOUBLE_LENGTH and text.isascii() and "e" not in text.lower()):
            return number
        try:
            exact = math.isfinite(number) and Decimal(repr(number)) == Decimal(text)
        except ArithmeticError:  # an exponent beyond those of Decimal
            exact = False
        return number if exact else self._read_decimal(text)

    def _read_decimal(self, text: str) -> Any:
        """Return a number that is neither a 64-bit integer nor a double; the text if it has too many digits."""
        try:
            number = Decimal128(text)  # raises Inexact, Overflow, InvalidOperation
            if number.to_decimal() == Decimal(text):
                return number
        except ArithmeticError:
            pass  # the number is kept as text
        self.changed = True
        return text

    def _replace(self, value: Any) -> Any:
        """Return the value with valid texts."""
        if type(value) is str:
            return self._replace_surrogates(value)
        if type(value) is list:
            return [self._replace(item) for item in value]
        if type(value) is dict:
            return {name: self._replace(item) for name, item in value.items()}
        return value

    def _replace_surrogates(self, text: str) -> str:
        valid, count = _SURROGATE.subn("\ufffd", text)
        self.changed |= count > 0
        return valid
