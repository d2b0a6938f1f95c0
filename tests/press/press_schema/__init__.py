"""Tables of a press whose keys have several columns: natural keys, a parent with a number, an ID with a date."""

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

articles = sa.Table(
    "articles",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("title", sa.Text),
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("extra", JSONB),
)

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("id", UUID, nullable=False),
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text),
    sa.UniqueConstraint("id"),
    sa.ForeignKeyConstraint(["tenant", "slug"], ["articles.tenant", "articles.slug"], name="revisions_article_fkey"),
)

remarks = sa.Table(
    "remarks",
    metadata,
    sa.Column("revision_id", UUID, sa.ForeignKey("revisions.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text),
)

orders = sa.Table(
    "orders", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("customer", sa.Text), schema="trade"
)

lines = sa.Table(
    "lines",
    metadata,
    sa.Column("order_id", UUID, sa.ForeignKey("trade.orders.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text),
    schema="trade",
)

readings = sa.Table(
    "readings",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("taken_at", TIMESTAMP(timezone=True), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("raw", sa.LargeBinary, primary_key=True),
    sa.Column("is_good", sa.Boolean, primary_key=True),
    sa.Column("code", sa.CHAR(3), primary_key=True),
    sa.Column("value", sa.Double),
)

comments = sa.Table(
    "comments",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("tenant", sa.Text),
    sa.Column("slug", sa.Text),
    sa.Column("other_tenant", sa.Text),
    sa.Column("other_slug", sa.Text),
    sa.Column("reading_id", UUID),
    sa.Column("line_order", UUID),
    sa.Column("line_number", sa.Integer),
    sa.Column("text", sa.Text),
    sa.ForeignKeyConstraint(["slug", "tenant"], ["articles.slug", "articles.tenant"], name="comments_article_fkey"),
    sa.ForeignKeyConstraint(
        ["other_tenant", "other_slug"], ["articles.tenant", "articles.slug"], name="comments_other_fkey"
    ),
    sa.ForeignKeyConstraint(
        ["line_order", "line_number"], ["trade.lines.order_id", "trade.lines.number"], name="comments_line_fkey"
    ),
    sa.Index("comments_slug_idx", "tenant", "slug"),
    sa.Index("comments_other_idx", "other_tenant", "other_slug"),
    sa.Index("comments_line_idx", "line_order", "line_number"),
)
