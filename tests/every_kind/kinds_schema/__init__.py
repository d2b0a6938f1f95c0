"""Tables with every kind of column and key."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, ENUM, JSON, JSONB, TIMESTAMP, UUID

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

items = sa.Table(
    "items",
    metadata,
    sa.Column("item_id", sa.CHAR(24), primary_key=True),
    sa.Column("small", sa.SmallInteger),
    sa.Column("whole", sa.Integer),
    sa.Column("big", sa.BigInteger),
    sa.Column("long", sa.BigInteger),
    sa.Column("single", sa.REAL),
    sa.Column("double", sa.Double),
    sa.Column("number", sa.Double),
    sa.Column("exact", sa.Numeric),
    sa.Column("price", sa.Numeric(10, 2)),
    sa.Column("cost", sa.Numeric(12, 2)),
    sa.Column("flag", sa.Boolean),
    sa.Column("day", sa.Date),
    sa.Column("birthday", sa.Date),
    sa.Column("opens", sa.Time),
    sa.Column("at", TIMESTAMP),
    sa.Column("seen", TIMESTAMP(timezone=True)),
    sa.Column("uuid", UUID),
    sa.Column("uuid_text", UUID),
    sa.Column("data", BYTEA),
    sa.Column("owner", sa.Text),
    sa.Column("code", sa.CHAR(2)),
    sa.Column("short", sa.String(20)),
    sa.Column("state", ENUM("draft", "PAID", name="item_state")),
    sa.Column("tags", sa.ARRAY(sa.Text)),
    sa.Column("sizes", sa.ARRAY(sa.BigInteger)),
    sa.Column("prices", sa.ARRAY(sa.Numeric)),
    sa.Column("raw", JSON),
    sa.Column("extra", JSONB),
    sa.Column("label", sa.Text, sa.Computed("code || '-' || short", persisted=True)),
    sa.Column("number_of_row", sa.BigInteger, sa.Identity(always=True)),
    sa.Column("made", TIMESTAMP(timezone=True), nullable=False, server_default="2024-05-01"),
    sa.Column("window", sa.Interval),
    sa.UniqueConstraint("number_of_row"),
)

shelves = sa.Table(
    "shelves",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("label", sa.Text),
)

places = sa.Table(
    "places",
    metadata,
    sa.Column("oid", BYTEA, primary_key=True),
    sa.Column("shelf", sa.BigInteger, sa.ForeignKey("shelves.number"), nullable=False),
    sa.Column("item", sa.CHAR(24), sa.ForeignKey("items.item_id"), nullable=False),
    sa.Column("row", sa.SmallInteger),
    sa.Index("places_shelf_idx", "shelf"),
    sa.Index("places_item_idx", "item"),
)
