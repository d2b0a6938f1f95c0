"""Table orders: the collection Orders, 300 documents."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB, TIMESTAMP

from schema.base import metadata

orders = Table(
    "orders",
    metadata,
    Column("id", Text, primary_key=True),
    # 1 of 60 distinct values have no document
    Column("account_id", Text, ForeignKey("accounts.id")),
    Column("billing_address", JSONB),
    # date 299, string 1
    Column("created_at", TIMESTAMP(timezone=True)),
    Column("currency_code", Text, nullable=False),
    Column("custom_fields", JSONB),
    Column("email", Text),
    Column("reference_id", Text, nullable=False),
    # array 299, object 1
    Column("shipping", JSONB),
    Column("shop_id", Text, ForeignKey("shops.id"), nullable=False),
    # int 299, string 1
    Column("total_item_quantity", BigInteger),
    Column("updated_at", TIMESTAMP(timezone=True)),
    Column("workflow", JSONB, nullable=False),
    Column("payments", JSONB),
    Column("surcharges", JSONB),
    Column("cart_id", Text),
    Column("orderer_preferred_language", Text),
    UniqueConstraint("reference_id"),
    Index("orders_account_id_shop_id_idx", "account_id", "shop_id"),
    Index("orders_account_id_idx", "account_id"),
    Index("orders_shop_id_idx", "shop_id"),
)

order_anonymous_access_tokens = Table(
    "order_anonymous_access_tokens",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("hashed_token", Text, nullable=False),
)

order_documents = Table(
    "order_documents",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("doc_id", Text, nullable=False),
    Column("doc_type", Text),
)

order_export_history = Table(
    "order_export_history",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("status", Text, nullable=False),
    Column("date_attempted", TIMESTAMP(timezone=True), nullable=False),
    Column("export_method", Text, nullable=False),
    Column("shop_id", Text, nullable=False),
    Column("destination_identifier", Text),
)

order_history = Table(
    "order_history",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("event", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
)

order_notes = Table(
    "order_notes",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("content", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
)

order_transactions = Table(
    "order_transactions",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("shipment_id", Text),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("item_id", Text),
    Column("payment_id", Text),
    Column("inventory_id", Text),
)

order_discounts = Table(
    "order_discounts",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("amount", DOUBLE_PRECISION, nullable=False),
    Column("discount_id", Text, nullable=False),
)
