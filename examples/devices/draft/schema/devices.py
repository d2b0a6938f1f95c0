"""Table devices: the collection devices, 100 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from schema.base import metadata

devices = Table(
    "devices",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("serial", Text, nullable=False),
    Column("model_number", Text, ForeignKey("models.id"), nullable=False),
    Column("owner_id", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Column("location", JSONB, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("gateway_id", UUID),
    Index("devices_model_number_idx", "model_number"),
    Index("devices_owner_id_idx", "owner_id"),
)
