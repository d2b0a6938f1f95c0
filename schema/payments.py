"""Table of payments."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text, UniqueConstraint, text

from schema.base import created_at, metadata, owner, tenant, updated_at, uuid_key

transactions = Table(
    "transactions",
    metadata,
    uuid_key(),
    tenant(),
    owner("user_id", "users.id"),
    Column("stripe_session_id", Text),
    Column("stripe_customer_id", Text),
    Column("stripe_subscription_id", Text),
    Column("amount", Integer, nullable=False),
    Column("currency", Text, nullable=False, server_default=text("'usd'")),
    Column("status", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("product_id", Text),
    Column("product_name", Text),
    created_at(),
    updated_at(),
    UniqueConstraint("stripe_session_id"),
    Index("transactions_user_id_idx", "user_id"),
)
