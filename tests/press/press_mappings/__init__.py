"""The mappings of a press: keys of several columns, filled by parts of the key, by rules and by references."""

from __future__ import annotations

from press_schema import articles, comments, lines, orders, readings, remarks, revisions

from migrator.mapping.children import Children
from migrator.mapping.codecs import (
    BOOLEAN,
    DATE,
    DATETIME,
    INDEXED_TEXT,
    INTEGER,
    JSON,
    TEXT,
    Bytes,
    Char,
    Double,
    ObjectIdText,
)
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.key_references import FieldsReference, KeyReference
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import imply_field, map_field

OBJECTID = ObjectIdText().write
ARTICLE = CompositeKey(
    table=articles,
    parts=(
        Key(path="tenant", collection="articles", column="tenant", text=True, most=1000),
        Key(path="slug", collection="articles", column="slug", text=True, most=1000),
    ),
)
ORDER = Key(path="_id", collection="orders")
READING = Key(path="_id", collection="readings")

MAPPINGS = (
    Collection(
        name="articles",
        table=articles,
        key=ARTICLE,
        rules=(
            map_field("title", "title", TEXT),
            map_field("extra", "extra", JSON),
            Children(
                path="revisions",
                table=revisions,
                parent=("tenant", "slug"),
                key="id",
                rules=(
                    map_field("text", "text", TEXT),
                    Children(
                        path="remarks",
                        table=remarks,
                        parent="revision_id",
                        values=True,
                        rules=(map_field("value", "text", TEXT),),
                    ),
                ),
            ),
            imply_field("__v", 0),
        ),
    ),
    Collection(name="legacy", table=articles, key=ARTICLE, rules=(map_field("title", "title", TEXT),)),
    Collection(name="orders", table=orders, key=ORDER, rules=(map_field("customer", "customer", TEXT),)),
    Collection(
        name="lines",
        table=lines,
        key=CompositeKey(table=lines),
        rules=(
            reference_to("order", "order_id", ORDER, OBJECTID, required=True),
            map_field("number", "number", INTEGER, required=True),
            map_field("text", "text", TEXT),
        ),
    ),
    Collection(
        name="readings",
        table=readings,
        key=CompositeKey(table=readings, parts=(READING,)),
        rules=(
            map_field("takenAt", "taken_at", DATETIME, required=True),
            map_field("day", "day", DATE, required=True),
            map_field("raw", "raw", Bytes(), required=True),
            map_field("good", "is_good", BOOLEAN, required=True),
            map_field("code", "code", Char(3), required=True),
            map_field("value", "value", Double()),
        ),
    ),
    Collection(
        name="comments",
        table=comments,
        key=Key(path="_id", collection="comments"),
        rules=(
            FieldsReference(
                collection="articles",
                key=ARTICLE,
                fields=(map_field("tenant", "tenant", INDEXED_TEXT), map_field("slug", "slug", INDEXED_TEXT)),
            ),
            KeyReference(
                path="article", collection="articles", filled=(("other_tenant", "tenant"), ("other_slug", "slug"))
            ),
            KeyReference(
                path="line", collection="lines", filled=(("line_order", "order_id"), ("line_number", "number"))
            ),
            reference_to("reading", "reading_id", READING, OBJECTID),
            map_field("text", "text", TEXT),
        ),
    ),
)
