"""Codecs: convert a BSON value to the plain value of a column, and back.

Plain values: text, enum → str; uuid → 16 bytes; timestamp → microseconds since 1970 as int; integers → int; boolean →
bool; numeric → Decimal; jsonb → JSON in its normal form (`documents.jsonb`). `read` returns UNREADABLE for a value that
it cannot convert, and may record a finding with the reason. The rule decides what happens then. No I/O here.
"""

from __future__ import annotations

from migrator.mapping.codecs.arrays import Array
from migrator.mapping.codecs.base import UNREADABLE, Codec, Unreadable
from migrator.mapping.codecs.binary import (
    BYTES,
    OBJECTID_BYTES,
    OBJECTID_HEX,
    UUID,
    UUID_TEXT,
    Bytes,
    ObjectIdBytes,
    ObjectIdHex,
    ObjectIdText,
    Uuid,
)
from migrator.mapping.codecs.json_values import (
    JSON,
    JSON_ARRAY,
    JSON_DATETIME,
    JSON_OBJECT,
    NUMBER,
    Json,
    JsonDateTime,
    JsonNumber,
)
from migrator.mapping.codecs.numbers import (
    BIGINT,
    DOUBLE,
    INTEGER,
    LONG,
    NUMERIC,
    REAL,
    SMALLINT,
    Double,
    Integer,
    Numeric,
)
from migrator.mapping.codecs.texts import BOOLEAN, INDEXABLE_BYTES, INDEXED_TEXT, TEXT, Boolean, Char, Enum, Text
from migrator.mapping.codecs.times import DATE, DATETIME, TIME, Date, DateTime, Time

__all__ = [
    "BIGINT", "BOOLEAN", "BYTES", "DATE", "DATETIME", "DOUBLE", "INDEXABLE_BYTES", "INDEXED_TEXT", "INTEGER", "JSON",
    "JSON_ARRAY", "JSON_DATETIME", "JSON_OBJECT", "LONG", "NUMBER", "NUMERIC", "OBJECTID_BYTES", "OBJECTID_HEX", "REAL",
    "SMALLINT", "TEXT", "TIME", "UNREADABLE", "UUID", "UUID_TEXT", "Array", "Boolean", "Bytes", "Char", "Codec", "Date",
    "DateTime", "Double", "Enum", "Integer", "Json", "JsonDateTime", "JsonNumber", "Numeric", "ObjectIdBytes",
    "ObjectIdHex", "ObjectIdText", "Text", "Time", "Unreadable", "Uuid",
]  # fmt: skip
