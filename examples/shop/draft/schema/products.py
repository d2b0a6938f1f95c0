"""Table products: the collection products, 80 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import (
    ARRAY,
    DOUBLE_PRECISION,
    JSONB,
    TIMESTAMP,
    UUID,
)

from schema.base import metadata

products = Table(
    "products",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("category_id", UUID, ForeignKey("categories.id"), nullable=False),
    Column("price", Numeric),
    Column("stock", BigInteger, nullable=False),
    Column("weight", DOUBLE_PRECISION, nullable=False),
    Column("dimensions_width", BigInteger, nullable=False),
    Column("dimensions_height", DOUBLE_PRECISION, nullable=False),
    Column("dimensions_depth", BigInteger, nullable=False),
    Column("attributes", JSONB, nullable=False),
    Column("images", ARRAY(Text), nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("related_product_ids", ARRAY(UUID)),
    Index("products_category_id_idx", "category_id"),
)
