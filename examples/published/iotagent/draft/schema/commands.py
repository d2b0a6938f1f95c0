"""Table commands: the collection commands, 180 documents."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from schema.base import metadata

commands = Table(
    "commands",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("device_id", Text),
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    # null 44, object 40, int 36, array 32, string 28
    Column("value", JSONB),
    Column("service", Text, nullable=False),
    Column("subservice", Text, nullable=False),
    Column("exec_ts", TIMESTAMP(timezone=True)),
    Column("status", Text, nullable=False),
    Column("on_ok_notify", Boolean),
    Column("cmd_execution", Boolean, nullable=False),
    Column("date_expiration", TIMESTAMP(timezone=True)),
    Column("creation_date", TIMESTAMP(timezone=True), nullable=False),
    Column("info", Text),
)
