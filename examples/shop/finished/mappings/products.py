"""Collection products → table products."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import (
    DATETIME,
    INDEXED_TEXT,
    INTEGER,
    TEXT,
    Array,
)
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.products import product_attributes, products

mapping = Collection(
    name="products",
    table=products,
    key=shared.PRODUCTS,
    unique={"sku": "duplicate_key"},
    rules=(
        map_field("sku", "sku", INDEXED_TEXT, required=True),
        map_field("title", "title", TEXT, required=True),
        reference_to(
            "category",
            "category_id",
            shared.CATEGORIES,
            shared.AS_OBJECTID,
            required=True,
        ),
        map_field("price", "price", shared.MONEY, required=True),
        map_field("stock", "stock", INTEGER, required=True),
        map_field("weight", "weight", shared.SIZE, required=True),
        map_field("dimensions.width", "width", shared.SIZE, required=True),
        map_field("dimensions.height", "height", shared.SIZE, required=True),
        map_field("dimensions.depth", "depth", shared.SIZE, required=True),
        Children(
            path="attributes",
            table=product_attributes,
            parent="product_id",
            shape="map",
            name="name",
            values=True,
            rules=(map_field("value", "value", TEXT, required=True),),
        ),
        map_field("images", "images", Array(TEXT), required=True),
        map_field("createdAt", "created_at", DATETIME, required=True),
        map_field(
            "relatedProducts",
            "related_product_ids",
            Array(IdCodec(shared.PRODUCTS, shared.AS_OBJECTID)),
        ),
        imply_field("__v", 0),
    ),
)
