"""Collection products → table products."""

from __future__ import annotations

from migrator.mapping.codecs import (
    BIGINT,
    DATETIME,
    DOUBLE,
    JSON_OBJECT,
    NUMERIC,
    TEXT,
    Array,
    Double,
)
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.products import products

mapping = Collection(
    name="products",
    table=products,
    key=shared.PRODUCTS,
    rules=(
        map_field("sku", "sku", TEXT, required=True),
        map_field("title", "title", TEXT, required=True),
        reference_to(
            "category",
            "category_id",
            shared.CATEGORIES,
            shared.AS_OBJECTID,
            required=True,
        ),
        map_field("price", "price", NUMERIC),
        map_field("stock", "stock", BIGINT, required=True),
        map_field("weight", "weight", Double(whole_as_int=True), required=True),
        map_field("dimensions.width", "dimensions_width", BIGINT, required=True),
        map_field("dimensions.height", "dimensions_height", DOUBLE, required=True),
        map_field("dimensions.depth", "dimensions_depth", BIGINT, required=True),
        map_field("attributes", "attributes", JSON_OBJECT, required=True),
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
