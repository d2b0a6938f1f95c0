"""Table customers."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

customers = Table(
    "customers",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("email", Text, nullable=False),
    Column("first_name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    Column("loyalty_points", BigInteger, nullable=False),
    Column("phone", Text),
    UniqueConstraint("email"),
)

customer_addresses = Table(
    "customer_addresses",
    metadata,
    Column("customer_id", UUID, ForeignKey("customers.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("mongo_id", String(24), nullable=False),
    Column("street", Text, nullable=False),
    Column("zip", Text, nullable=False),
)
