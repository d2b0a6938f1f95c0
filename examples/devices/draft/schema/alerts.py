"""Table alerts: the collection alerts, 133 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from schema.base import metadata

alerts = Table(
    "alerts",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("device_id", UUID, ForeignKey("devices.id"), nullable=False),
    Column("level", Text, nullable=False),
    # date 131, string 2
    Column("raised", TIMESTAMP(timezone=True)),
    Column("acknowledged_by", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Index("alerts_device_id_idx", "device_id"),
    Index("alerts_acknowledged_by_idx", "acknowledged_by"),
)
