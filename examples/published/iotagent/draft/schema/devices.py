"""Table devices: the collection devices, 240 documents."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, UUID

from schema.base import metadata

devices = Table(
    "devices",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("device_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    # array 239, object 1
    Column("active", JSONB),
    Column("apikey_id", Text, ForeignKey("groups.id"), nullable=False),
    Column("resource", Text, nullable=False),
    Column("protocol", Text),
    Column("transport", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("subservice", Text, nullable=False),
    Column("timezone", Text),
    # bool 82, string 1
    Column("timestamp", Boolean),
    # date 239, string 1
    Column("creation_date", TIMESTAMP(timezone=True)),
    Column("autoprovision", Boolean),
    Column("store_last_measure", Boolean, nullable=False),
    Column("last_measure", JSONB),
    Column("registration_id", Text),
    Column("polling", Boolean),
    Column("internal_attributes", JSONB),
    # string 79, bool 55, int 1
    Column("explicit_attrs", JSONB),
    Column("old_ctxt", JSONB),
    Column("cmd_mode", Text),
    Index(
        "devices_service_subservice_apikey_id_device_id_idx",
        "service",
        "subservice",
        "apikey_id",
        "device_id",
    ),
    Index("devices_apikey_id_idx", "apikey_id"),
)

device_lazy = Table(
    "device_lazy",
    metadata,
    Column("device_id", UUID, ForeignKey("devices.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("object_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("expression", Text),
    Column("metadata", JSONB),
)

device_commands = Table(
    "device_commands",
    metadata,
    Column("device_id", UUID, ForeignKey("devices.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
)

device_static_attributes = Table(
    "device_static_attributes",
    metadata,
    Column("device_id", UUID, ForeignKey("devices.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    # string 117, int 98
    Column("value", JSONB),
)

device_subscriptions = Table(
    "device_subscriptions",
    metadata,
    Column("device_id", UUID, ForeignKey("devices.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("device_subscription_id", Text, nullable=False),
    Column("triggers", ARRAY(Text), nullable=False),
)
