"""Table customers: the collection customers, 100 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String, Table, Text
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

customers = Table(
    "customers",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("email", Text, nullable=False),
    Column("name_first", Text, nullable=False),
    Column("name_last", Text, nullable=False),
    Column("loyalty_points", BigInteger, nullable=False),
    Column("phone", Text),
)

customer_addresses = Table(
    "customer_addresses",
    metadata,
    Column("customer_id", UUID, ForeignKey("customers.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("customer_address_id", String(24), nullable=False),
    Column("street", Text, nullable=False),
    Column("zip", Text, nullable=False),
)
