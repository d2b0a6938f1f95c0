"""Table payments: the collection payments, 362 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from schema.base import metadata

payments = Table(
    "payments",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("order_number", BigInteger, nullable=False),
    Column("customer_id", UUID, ForeignKey("customers.id"), nullable=False),
    Column("amount", Numeric),
    Column("method", Text, nullable=False),
    Column("paid_at", TIMESTAMP(timezone=True), nullable=False),
    Index("payments_customer_id_idx", "customer_id"),
)
