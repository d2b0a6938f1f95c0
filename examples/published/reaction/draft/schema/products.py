"""Table products: the collection Products, 125 documents."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from schema.base import metadata

products = Table(
    "products",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ancestor_ids", ARRAY(Text)),
    Column("created_at", TIMESTAMP(timezone=True)),
    Column("description", Text),
    Column("handle", Text),
    Column("is_deleted", Boolean, nullable=False),
    Column("is_visible", Boolean, nullable=False),
    Column("origin_country", Text),
    Column("page_title", Text),
    Column("product_type", Text),
    Column("published_product_hash", Text),
    Column("shop_id", Text, ForeignKey("shops.id"), nullable=False),
    Column("should_appear_in_sitemap", Boolean),
    Column("supported_fulfillment_types", ARRAY(Text)),
    Column("template", Text),
    Column("title", Text, nullable=False),
    Column("twitter_msg", Text),
    Column("type", Text, nullable=False),
    Column("hashtag_ids", ARRAY(Text)),
    Column("attribute_label", Text),
    Column("height", BigInteger),
    Column("index", BigInteger),
    Column("length", BigInteger),
    Column("option_title", Text),
    Column("sku", Text),
    Column("updated_at", TIMESTAMP(timezone=True)),
    Column("width", BigInteger),
    Column("workflow", JSONB),
    Column("weight", BigInteger),
    Column("barcode", Text),
    Column("min_order_quantity", BigInteger),
    Column("facebook_msg", Text),
    Column("googleplus_msg", Text),
    Column("pinterest_msg", Text),
    Column("published_at", TIMESTAMP(timezone=True)),
    Column("vendor", Text),
    Column("current_product_hash", Text),
    Column("meta_description", Text),
    Column("parcel", JSONB),
    Index("products_ancestor_ids_idx", "ancestor_ids", postgresql_using="gin"),
    Index("products_shop_id_idx", "shop_id"),
)

product_metafields = Table(
    "product_metafields",
    metadata,
    Column("product_id", Text, ForeignKey("products.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("key", Text),
    Column("scope", Text),
    Column("value", Text),
    Column("value_type", Text),
    Column("description", Text),
    Column("namespace", Text),
)
