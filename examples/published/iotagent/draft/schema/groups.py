"""Table groups: the collection groups, 12 documents."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from schema.base import metadata

groups = Table(
    "groups",
    metadata,
    Column("id", Text, primary_key=True),
    Column("resource", Text),
    Column("type", Text),
    Column("service", Text),
    Column("subservice", Text),
    Column("cb_host", Text),
    Column("timezone", Text),
    Column("autoprovision", Boolean),
    # string 4, bool 3
    Column("explicit_attrs", JSONB),
    Column("use_c_bflow_control", Boolean),
    Column("store_last_measure", Boolean),
    Column("ngsi_version", Text),
    Column("description", Text),
    Column("timestamp", Boolean),
    Index("groups_id_resource_idx", "id", "resource"),
)

group_commands = Table(
    "group_commands",
    metadata,
    Column("group_id", Text, ForeignKey("groups.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text),
    Column("type", Text),
)

group_static_attributes = Table(
    "group_static_attributes",
    metadata,
    Column("group_id", Text, ForeignKey("groups.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text),
    Column("type", Text),
    # string 7, int 5
    Column("value", JSONB),
)

group_attributes = Table(
    "group_attributes",
    metadata,
    Column("group_id", Text, ForeignKey("groups.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("object_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("metadata", JSONB),
    Column("expression", Text),
)
