"""Table payments."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Numeric, Table
from sqlalchemy.dialects.postgresql import ENUM, TIMESTAMP, UUID

from schema.base import metadata

METHODS = ("card", "transfer")

payments = Table(
    "payments",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("order_id", UUID, ForeignKey("orders.id"), nullable=False),
    Column("order_number", Integer, nullable=False),
    Column("customer_id", UUID, ForeignKey("customers.id"), nullable=False),
    Column("amount", Numeric(12, 2), nullable=False),
    Column("method", ENUM(*METHODS, name="payment_method"), nullable=False),
    Column("paid_at", TIMESTAMP(timezone=True), nullable=False),
    Index("payments_order_id_idx", "order_id"),
    Index("payments_customer_id_idx", "customer_id"),
)
