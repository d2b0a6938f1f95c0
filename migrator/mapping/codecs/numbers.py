"""Codecs of columns with numbers. Plain values are int, float, and Decimal for numeric."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation, localcontext
from typing import Any, Literal

from bson import Decimal128, Int64

from migrator.documents.jsonb import Note
from migrator.mapping.codecs.base import UNREADABLE
from migrator.mapping.numbers import number_of

_INT32 = range(-(2**31), 2**31)


@dataclass(frozen=True, slots=True)
class Integer:
    """Integer ↔ smallint, integer or bigint, which have `bits`. The field is int32, or with `as_long` int64.

    Whole numbers of other types, and texts of them, are converted if they are in the range of the column. A long or
    double in the range is the usual form of a number for many drivers, so it is no finding.
    """

    bits: Literal[16, 32, 64] = 32
    as_long: bool = False

    def read(self, value: Any, note: Note, path: str) -> Any:
        number = number_of(value)
        most = 1 << self.bits - 1
        if number is None or number != number.to_integral_value() or not -most <= number < most:
            return UNREADABLE
        if not isinstance(value, int | float):
            note("coerced", path)
        return int(number)

    def write(self, plain: int) -> int:
        return Int64(plain) if self.as_long or plain not in _INT32 else plain


_SINGLE = struct.Struct("f")


@dataclass(frozen=True, slots=True)
class Double:
    """Double ↔ double precision, or real if it has 32 `bits`.

    Integers, Decimal128 and texts of numbers are converted if a double can hold them; a real gets the nearest value.
    With `whole_as_int`, whole numbers are int32 in documents: drivers for JavaScript write 5.0 as 5.
    """

    bits: Literal[32, 64] = 64
    whole_as_int: bool = False

    def read(self, value: Any, note: Note, path: str) -> Any:
        number = value if type(value) is float else _double_of(value, note, path)
        if number is UNREADABLE or self.bits == 64:
            return number
        try:
            rounded: float = _SINGLE.unpack(_SINGLE.pack(number))[0]
        except OverflowError:
            return UNREADABLE
        if rounded != number and not math.isnan(number):
            note("rounded", path)
        return rounded

    def write(self, plain: float) -> Any:
        is_whole = self.whole_as_int and plain.is_integer() and -(2**31) <= plain < 2**31
        return int(plain) if is_whole and (plain or math.copysign(1, plain) > 0) else plain  # -0.0 is no int


def _double_of(value: Any, note: Note, path: str) -> Any:
    exact = number_of(value)
    if exact is None:
        return UNREADABLE
    number = float(exact)
    if not math.isfinite(number) or (Decimal(number) != exact and Decimal(repr(number)) != exact):
        return UNREADABLE
    if not isinstance(value, int | float):
        note("coerced", path)
    return number


# PostgreSQL stores up to 16,383 digits after the decimal point; a Decimal128 has at most 6,176.
_EXACT = Context(prec=20_000, Emax=99_999, Emin=-99_999, traps=[InvalidOperation])


@dataclass(frozen=True, slots=True)
class Numeric:
    """Decimal128 ↔ numeric, or numeric(precision, scale). Numbers of other types, and texts of them, are converted.

    A number with more digits after the decimal point is rounded as PostgreSQL does. `restore`: the type of the field.
    """

    precision: int | None = None
    scale: int = 0
    restore: Literal["decimal", "double"] = "decimal"

    def read(self, value: Any, note: Note, path: str) -> Any:
        number = number_of(value)
        if number is None:
            return UNREADABLE
        with localcontext(_EXACT):
            plain = self._fit(number)
        if plain is None:
            return UNREADABLE
        if plain != number:
            note("rounded", path)
        if isinstance(value, str):
            note("coerced", path)
        return plain

    def _fit(self, number: Decimal) -> Decimal | None:
        """Return the number as the column holds it: without an exponent, and with its scale."""
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int)  # `number_of` returns finite numbers only
        if self.precision is None:
            plain = number.quantize(Decimal(1)) if exponent > 0 else number
        else:
            plain = number.quantize(Decimal(1).scaleb(-self.scale), rounding=ROUND_HALF_UP)
            if abs(plain) >= Decimal(10) ** (self.precision - self.scale):
                return None
        return plain if plain else plain.copy_abs()  # there is no -0

    def write(self, plain: Decimal) -> Any:
        if self.restore == "double":
            return float(plain)
        try:
            return Decimal128(plain)
        except ArithmeticError:  # more than 34 digits: the application has written it
            return UNREADABLE


INTEGER, SMALLINT, BIGINT, LONG = Integer(), Integer(bits=16), Integer(bits=64), Integer(bits=64, as_long=True)
DOUBLE, REAL, NUMERIC = Double(), Double(bits=32), Numeric()
