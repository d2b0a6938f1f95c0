"""Tables of user accounts and their memories."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Table, Text, UniqueConstraint, false, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from schema.base import created_at, metadata, owner, role, tenant, tier_column, updated_at, uuid_key

users = Table(
    "users",
    metadata,
    uuid_key(),
    tenant(),
    Column("email", Text, nullable=False),
    Column("email_verified", Boolean, server_default=false()),
    Column("password", Text),
    Column("name", Text),
    Column("username", Text),
    Column("avatar", Text),
    tier_column(),
    Column("role", role, nullable=False, server_default=text("'user'")),
    Column("provider", Text),
    Column("provider_id", Text),
    Column("preferences", JSONB),
    created_at(),
    updated_at(),
    Column("last_login_at", TIMESTAMP),
    UniqueConstraint("email"),
    Index("users_tenant_id_idx", "tenant_id"),
    # Redundant with the constraint above. The application defines both, so both are created.
    Index("users_email_idx", "email", unique=True),
)

memories = Table(
    "memories",
    metadata,
    uuid_key(),
    tenant(),
    owner("user_id", "users.id"),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("category", Text),
    Column("source", Text),
    Column("source_id", UUID),
    created_at(),
    updated_at(),
    Index("memories_user_id_idx", "user_id"),
    Index("memories_key_idx", "key"),
    Index("memories_search_idx", text("to_tsvector('english', value)"), postgresql_using="gin"),
)
