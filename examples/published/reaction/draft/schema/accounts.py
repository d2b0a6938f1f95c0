"""Table accounts: the collection Accounts, 60 documents."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from schema.base import metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("shop_id", Text, ForeignKey("shops.id")),
    Column("name", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("accepts_marketing", Boolean),
    Column("state", Text),
    Column("tax_settings", JSONB),
    Column("profile", JSONB),
    # array 59, string 1
    Column("groups", JSONB),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("note", Text),
    Column("updated_at", TIMESTAMP(timezone=True)),
    Column("sessions", ARRAY(Text)),
    Index("accounts_shop_id_idx", "shop_id"),
)

account_metafields = Table(
    "account_metafields",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("key", Text),
    Column("scope", Text),
    Column("value", Text),
    Column("value_type", Text),
    Column("description", Text),
    Column("namespace", Text),
)

account_emails = Table(
    "account_emails",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("address", Text, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("provides", Text, nullable=False),
)
