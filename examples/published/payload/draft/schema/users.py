"""Table users: the collection users, 8 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, UUID

from schema.base import metadata

users = Table(
    "users",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True)),
    Column("updated_at", TIMESTAMP(timezone=True)),
    Column("roles", ARRAY(Text)),
    Column("email", Text),
    Column("salt", Text),
    Column("hash", Text),
    Column("login_attempts", BigInteger),
    Column("name", Text),
    UniqueConstraint("email"),
    Index("users_created_at_idx", "created_at"),
    Index("users_updated_at_idx", "updated_at"),
)
