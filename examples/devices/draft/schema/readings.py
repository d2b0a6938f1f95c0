"""Table readings: the collection readings, 400 documents."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB, TIMESTAMP, UUID

from schema.base import metadata

readings = Table(
    "readings",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("device_id", UUID, ForeignKey("devices.id"), nullable=False),
    Column("at", TIMESTAMP(timezone=True), nullable=False),
    Column("values", JSONB, nullable=False),
    Column("battery", DOUBLE_PRECISION, nullable=False),
    Index("readings_device_id_idx", "device_id"),
)
