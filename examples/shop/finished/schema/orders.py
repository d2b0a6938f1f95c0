"""Table orders."""

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
from sqlalchemy.dialects.postgresql import ENUM, TIMESTAMP, UUID

from schema.base import metadata

ORDER_STATES = ("new", "paid", "shipped")

orders = Table(
    "orders",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("order_number", Integer, nullable=False),
    Column("customer_id", UUID, ForeignKey("customers.id"), nullable=False),
    Column("shipping_street", Text, nullable=False),
    Column("shipping_city", Text, nullable=False),
    Column("shipping_zip", Text, nullable=False),
    Column("shipping_country", Text, nullable=False),
    Column("total", Numeric(12, 2), nullable=False),
    Column("status", ENUM(*ORDER_STATES, name="order_state"), nullable=False),
    Column("coupon", Text),
    Column("placed_at", TIMESTAMP(timezone=True), nullable=False),
    UniqueConstraint("order_number"),
    Index("orders_customer_id_idx", "customer_id"),
)

order_items = Table(
    "order_items",
    metadata,
    Column("order_id", UUID, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("product_id", UUID, ForeignKey("products.id"), nullable=False),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price", Numeric(12, 2), nullable=False),
    Index("order_items_product_id_idx", "product_id"),
)
