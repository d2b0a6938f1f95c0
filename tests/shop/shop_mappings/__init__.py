"""The mappings of a shop: items with discounts, a payment, tags, and attributes become rows."""

from __future__ import annotations

from shop_schema import discounts, order_items, order_tags, orders, payments, product_attributes, products, tags

from migrator.documents.codec import Document
from migrator.mapping.children import Children, junction
from migrator.mapping.codecs import DATETIME, INTEGER, JSON, LONG, TEXT, Double, Numeric, ObjectIdText
from migrator.mapping.collection import Collection
from migrator.mapping.context import Context, Match, Rejected
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import imply_field, map_field

PRODUCTS, TAGS = Key(path="_id", collection="products"), Key(path="_id", collection="tags")
OBJECTID = ObjectIdText().write


def missing(context: Context, document: Document) -> Match:
    """An element without its product or tag cannot become a row."""
    raise Rejected("orphan", "reference")


items = Children(
    path="items",
    table=order_items,
    parent="order_id",
    key="id",
    rules=(
        Reference(path="product", column="product_id", key=PRODUCTS, on_missing=missing, write=OBJECTID),
        map_field("quantity", "quantity", INTEGER),
        map_field("price", "price", Double(whole_as_int=True)),
        Children(
            path="discounts",
            table=discounts,
            parent="item_id",
            rules=(map_field("code", "code", TEXT), map_field("percent", "percent", INTEGER)),
        ),
    ),
)

MAPPINGS = (
    Collection(name="tags", table=tags, key=TAGS, rules=(map_field("name", "name", TEXT),)),
    Collection(
        name="products",
        table=products,
        key=PRODUCTS,
        unique={"sku": "duplicate_key"},
        rules=(
            map_field("sku", "sku", TEXT),
            map_field("price", "price", Numeric(12, 2)),
            Children(
                path="attributes",
                table=product_attributes,
                parent="product_id",
                shape="map",
                name="name",
                values=True,
                rules=(map_field("value", "value", TEXT),),
            ),
            imply_field("__v", 0),
        ),
    ),
    Collection(
        name="orders",
        table=orders,
        key=Key(path="_id", collection="orders"),
        rules=(
            map_field("number", "number", LONG),
            map_field("placedAt", "placed_at", DATETIME),
            map_field("note", "note", JSON),
            items,
            Children(
                path="payment",
                table=payments,
                parent="order_id",
                position=None,
                shape="document",
                rules=(map_field("method", "method", TEXT), map_field("paidAt", "paid_at", DATETIME)),
            ),
            junction(
                "tags",
                order_tags,
                parent="order_id",
                reference=Reference(path="value", column="tag_id", key=TAGS, on_missing=missing, write=OBJECTID),
            ),
        ),
    ),
)
