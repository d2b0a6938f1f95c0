"""Table orders: the collection orders, 400 documents."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from schema.base import metadata

orders = Table(
    "orders",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("order_number", BigInteger, nullable=False),
    Column("customer_id", UUID, ForeignKey("customers.id"), nullable=False),
    Column("shipping_address_street", Text, nullable=False),
    Column("shipping_address_city", Text, nullable=False),
    Column("shipping_address_zip", Text, nullable=False),
    Column("shipping_address_country", Text, nullable=False),
    Column("total", Numeric),
    Column("status", Text, nullable=False),
    Column("coupon", Text),
    Column("placed_at", TIMESTAMP(timezone=True), nullable=False),
    Index("orders_customer_id_idx", "customer_id"),
)

order_items = Table(
    "order_items",
    metadata,
    Column("order_id", UUID, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("product_id", UUID, ForeignKey("products.id"), nullable=False),
    Column("sku", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("price", Numeric),
    Index("order_items_product_id_idx", "product_id"),
)
