"""Table carts: the collection carts, 50 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from schema.base import metadata

carts = Table(
    "carts",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("customer_id", UUID, ForeignKey("customers.id"), nullable=False),
    Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
    Index("carts_customer_id_idx", "customer_id"),
)

cart_lines = Table(
    "cart_lines",
    metadata,
    Column("cart_id", UUID, ForeignKey("carts.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("product_id", UUID, ForeignKey("products.id"), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Index("cart_lines_product_id_idx", "product_id"),
)
