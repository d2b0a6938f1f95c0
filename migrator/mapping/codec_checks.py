"""Checks that the codec of a rule gives values that its column holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from migrator.mapping import codecs
from migrator.mapping.references import Key
from migrator.mapping.rules import Field
from migrator.postgres.column_kinds import INTEGERS, JSON_KINDS, TIMESTAMPS, kind_of_column

Problem = tuple[str, str]  # what is wrong, and what to change

# codec → the kinds of columns that hold its plain values
_KINDS: dict[type[Any], frozenset[str]] = {
    codecs.Text: frozenset({"text"}),
    codecs.Char: frozenset({"text"}),
    codecs.Enum: frozenset({"text"}),
    codecs.Boolean: frozenset({"boolean"}),
    codecs.Integer: INTEGERS,
    codecs.Double: frozenset({"real", "double precision"}),
    codecs.Numeric: frozenset({"numeric"}),
    codecs.DateTime: TIMESTAMPS,
    codecs.Date: frozenset({"date"}),
    codecs.Time: frozenset({"time"}),
    codecs.Json: JSON_KINDS,
    codecs.Uuid: frozenset({"uuid"}),
    codecs.Bytes: frozenset({"bytea"}),
    codecs.ObjectIdHex: frozenset({"text"}),
    codecs.ObjectIdBytes: frozenset({"bytea"}),
}
_INTEGER_BITS = {"smallint": 16, "integer": 32, "bigint": 64}


def kinds_of_key(key: Key) -> frozenset[str]:
    """Return the kinds of columns that hold the values of a key."""
    if key.codec is None:
        return frozenset({"text"}) if key.text else frozenset({"uuid"})
    return _KINDS.get(type(key.codec), frozenset()) - {"boolean", "real", "double precision", "numeric"}


def problems_of_codec(rule: Field, column: sa.Column[Any]) -> Iterator[Problem]:
    """Yield why the values of a codec do not fit their column."""
    kind, codec = kind_of_column(column), rule.codec
    if isinstance(codec, codecs.Array) != kind.endswith("[]"):
        yield (
            f"the column {column.name} has the type {kind}, which the codec {type(codec).__name__} does not fill",
            "Use `Array` for columns of an array type, and for no others.",
        )
        return
    if isinstance(codec, codecs.Array):
        codec, kind = codec.item, kind.removesuffix("[]")
    wanted = _KINDS.get(type(codec))
    if wanted is not None and kind not in wanted:
        yield (
            f"the column {column.name} has the type {kind}, which the codec {type(codec).__name__} does not fill",
            f"Use a codec for {kind}, or a column of type {' or '.join(sorted(wanted))}.",
        )
    elif isinstance(codec, codecs.Integer) and codec.bits > _INTEGER_BITS[kind]:
        yield (
            f"the codec of the column {column.name} has {codec.bits} bits, the type {kind} has {_INTEGER_BITS[kind]}",
            f"Use Integer(bits={_INTEGER_BITS[kind]}).",
        )
    elif isinstance(codec, codecs.Double) and (kind == "real") != (codec.bits == 32):
        yield f"the codec of the column {column.name} has {codec.bits} bits", f"Use the codec for {kind}."
    yield from _problems_of_length(codec, column)


def _problems_of_length(codec: codecs.Codec, column: sa.Column[Any]) -> Iterator[Problem]:
    type_: Any = column.type
    if isinstance(type_, sa.ARRAY):
        type_ = type_.item_type
    if isinstance(type_, sa.CHAR) and type_.length and not isinstance(codec, codecs.ObjectIdHex):
        if not isinstance(codec, codecs.Char) or codec.length != type_.length:
            yield f"the column {column.name} is char({type_.length})", f"Use the codec Char({type_.length})."
    elif isinstance(type_, sa.String) and not isinstance(type_, sa.Enum) and type_.length:
        if isinstance(codec, codecs.Text) and (codec.length is None or codec.length > type_.length):
            yield f"the column {column.name} is varchar({type_.length})", f"Use the codec Text(length={type_.length})."
    elif isinstance(type_, sa.Numeric) and not isinstance(type_, sa.Float) and isinstance(codec, codecs.Numeric):
        precision, scale = type_.precision, type_.scale or 0
        if (codec.precision, codec.scale) != (precision, scale if precision is not None else 0):
            name = "numeric" if precision is None else f"numeric({precision}, {scale})"
            codec_name = "NUMERIC" if precision is None else f"Numeric({precision}, {scale})"
            yield f"the column {column.name} is {name}", f"Use the codec {codec_name}."
