"""Mappings with every codec."""

from __future__ import annotations

from bson import Int64
from kinds_schema import items, places, shelves

from migrator.documents.codec import Document
from migrator.mapping.codecs import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DATETIME,
    DOUBLE,
    INTEGER,
    JSON,
    JSON_OBJECT,
    LONG,
    NUMERIC,
    OBJECTID_BYTES,
    OBJECTID_HEX,
    REAL,
    SMALLINT,
    TEXT,
    TIME,
    UUID,
    UUID_TEXT,
    Array,
    Char,
    Date,
    Double,
    Enum,
    Numeric,
    Text,
)
from migrator.mapping.collection import Collection
from migrator.mapping.context import Context, Match, Rejected
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import map_field

ITEMS = Key(path="_id", collection="items", column="item_id", codec=OBJECTID_HEX)
SHELVES = Key(path="_id", collection="shelves", column="number", codec=BIGINT)
PLACES = Key(path="_id", collection="places", column="oid", codec=OBJECTID_BYTES)


def reject(context: Context, document: Document) -> Match:
    """A place without its shelf or its item cannot become a row."""
    raise Rejected("orphan", "place")


MAPPINGS = (
    Collection(
        name="items",
        table=items,
        key=ITEMS,
        rules=(
            map_field("small", "small", SMALLINT),
            map_field("whole", "whole", INTEGER),
            map_field("big", "big", BIGINT),
            map_field("long", "long", LONG),
            map_field("single", "single", REAL),
            map_field("double", "double", DOUBLE),
            map_field("number", "number", Double(whole_as_int=True)),
            map_field("exact", "exact", NUMERIC),
            map_field("price", "price", Numeric(10, 2)),
            map_field("cost", "cost", Numeric(12, 2, restore="double")),
            map_field("flag", "flag", BOOLEAN),
            map_field("day", "day", DATE),
            map_field("birthday", "birthday", Date(restore="text")),
            map_field("opens", "opens", TIME),
            map_field("at", "at", DATETIME),
            map_field("seen", "seen", DATETIME),
            map_field("uuid", "uuid", UUID),
            map_field("uuid_text", "uuid_text", UUID_TEXT),
            map_field("data", "data", BYTES),
            map_field("owner", "owner", OBJECTID_HEX),
            map_field("code", "code", Char(2)),
            map_field("short", "short", Text(length=20)),
            map_field("state", "state", Enum(("draft", "PAID"))),
            map_field("tags", "tags", Array(TEXT)),
            map_field("sizes", "sizes", Array(BIGINT)),
            map_field("prices", "prices", Array(NUMERIC)),
            map_field("raw", "raw", JSON),
            map_field("extra", "extra", JSON_OBJECT),
        ),
    ),
    Collection(name="shelves", table=shelves, key=SHELVES, rules=(map_field("label", "label", TEXT),)),
    Collection(
        name="places",
        table=places,
        key=PLACES,
        rules=(
            Reference(path="shelf", column="shelf", key=SHELVES, on_missing=reject, write=Int64),
            Reference(path="item", column="item", key=ITEMS, on_missing=reject, write=OBJECTID_HEX.write),
            map_field("row", "row", SMALLINT),
        ),
    ),
)
