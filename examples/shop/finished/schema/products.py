"""Table products."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import (
    ARRAY,
    DOUBLE_PRECISION,
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
    Column("price", Numeric(12, 2), nullable=False),
    Column("stock", Integer, nullable=False),
    Column("weight", DOUBLE_PRECISION, nullable=False),
    Column("width", DOUBLE_PRECISION, nullable=False),
    Column("height", DOUBLE_PRECISION, nullable=False),
    Column("depth", DOUBLE_PRECISION, nullable=False),
    Column("images", ARRAY(Text), nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("related_product_ids", ARRAY(UUID)),  # no junction table: see README.md
    UniqueConstraint("sku"),
    Index("products_category_id_idx", "category_id"),
)

product_attributes = Table(
    "product_attributes",
    metadata,
    Column("product_id", UUID, ForeignKey("products.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),
)
