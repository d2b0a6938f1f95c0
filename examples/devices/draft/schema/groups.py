"""Table groups: the collection groups, 30 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

groups = Table(
    "groups",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner_id", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Index("groups_owner_id_idx", "owner_id"),
)

group_members = Table(
    "group_members",
    metadata,
    Column("group_id", UUID, ForeignKey("groups.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("member_id", UUID, ForeignKey("devices.id"), nullable=False),
    Index("group_members_member_id_idx", "member_id"),
)
