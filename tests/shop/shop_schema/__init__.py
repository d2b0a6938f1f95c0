"""Tables of a shop, in which embedded documents have tables of their own."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)

products = sa.Table(
    "products",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("sku", sa.Text),
    sa.Column("price", sa.Numeric(12, 2)),
    sa.UniqueConstraint("sku"),
)

product_attributes = sa.Table(
    "product_attributes",
    metadata,
    sa.Column("product_id", UUID, sa.ForeignKey("products.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("value", sa.Text),
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("number", sa.BigInteger),
    sa.Column("placed_at", TIMESTAMP(timezone=True)),
    sa.Column("note", JSONB),
)

order_items = sa.Table(
    "order_items",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("order_id", UUID, sa.ForeignKey("orders.id"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("product_id", UUID, sa.ForeignKey("products.id"), nullable=False),
    sa.Column("quantity", sa.Integer),
    sa.Column("price", sa.Double),
    sa.Column("made", sa.Boolean, server_default=sa.false()),
    sa.UniqueConstraint("order_id", "position"),
    sa.Index("order_items_product_id_idx", "product_id"),
)

discounts = sa.Table(
    "discounts",
    metadata,
    sa.Column("item_id", UUID, sa.ForeignKey("order_items.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("code", sa.Text),
    sa.Column("percent", sa.Integer),
)

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("order_id", UUID, sa.ForeignKey("orders.id"), primary_key=True),
    sa.Column("method", sa.Text),
    sa.Column("paid_at", TIMESTAMP(timezone=True)),
)

order_tags = sa.Table(
    "order_tags",
    metadata,
    sa.Column("order_id", UUID, sa.ForeignKey("orders.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("tag_id", UUID, sa.ForeignKey("tags.id"), nullable=False),
    sa.Index("order_tags_tag_id_idx", "tag_id"),
)

tags = sa.Table("tags", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("name", sa.Text))
