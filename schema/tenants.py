"""Table of tenants. Every other row belongs to a tenant."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB

from schema.base import created_at, metadata, tier_column, updated_at, uuid_key

tenants = Table(
    "tenants",
    metadata,
    uuid_key(),
    Column("name", Text, nullable=False),
    Column("subdomain", Text, nullable=False),
    Column("custom_domain", Text),
    Column("branding", JSONB),
    Column("config", JSONB),
    Column("stripe_customer_id", Text),
    tier_column("plan", nullable=True),
    Column("status", Text, server_default=text("'active'")),
    created_at(),
    updated_at(),
    UniqueConstraint("subdomain"),
)
