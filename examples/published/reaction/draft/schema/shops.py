"""Table shops: the collection Shops, 2 documents."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, UUID

from schema.base import metadata

shops = Table(
    "shops",
    metadata,
    Column("id", Text, primary_key=True),
    Column("allow_guest_checkout", Boolean),
    Column("slug", Text),
    Column("shop_type", Text),
    Column("active", Boolean),
    Column("status", Text),
    Column("name", Text),
    Column("description", Text),
    Column("domains", ARRAY(Text)),
    Column("default_payment_method", Text),
    Column("currency", Text),
    Column("currencies", JSONB),
    Column("locales", JSONB),
    Column("language", Text),
    Column("public", Text),
    Column("timezone", Text),
    Column("default_parcel_size", JSONB),
    Column("theme", JSONB),
    Column("created_at", TIMESTAMP(timezone=True)),
    Column("updated_at", TIMESTAMP(timezone=True)),
    Column("payment_methods", JSONB),
    Column("available_payment_methods", ARRAY(Text)),
    Column("workflow", JSONB),
    Column("default_navigation_tree_id", Text),
    Column("storefront_urls", JSONB),
    Column("allow_custom_user_locale", Boolean),
    Column("keywords", Text),
    Column("base_uol", Text),
    Column("base_uom", Text),
    Column("default_seller_roles", ARRAY(Text)),
    Column("layout", JSONB),
    Column("shop_logo_urls", JSONB),
)

shop_address_book = Table(
    "shop_address_book",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("shop_id", Text, ForeignKey("shops.id"), nullable=False),
    Column("position", Integer, nullable=False),
    UniqueConstraint("shop_id", "position"),
    Column("shop_address_book_id", Text),
    Column("full_name", Text),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("address_1", Text),
    Column("address_2", Text),
    Column("city", Text),
    Column("company", Text),
    Column("phone", Text),
    Column("region", Text),
    Column("postal", Text),
    Column("country", Text),
    Column("is_commercial", Boolean),
    Column("is_billing_default", Boolean),
    Column("failed_validation", Boolean),
    Column("address_name", Text),
    Column("is_shipping_default", Boolean),
)

shop_address_book_metafields = Table(
    "shop_address_book_metafields",
    metadata,
    Column(
        "shop_address_book_id",
        UUID,
        ForeignKey("shop_address_book.id"),
        primary_key=True,
    ),
    Column("position", Integer, primary_key=True),
    Column("namespace", Text),
    Column("value", Text),
    Column("value_type", Text),
    Column("description", Text),
    Column("key", Text),
    Column("scope", Text),
)

shop_languages = Table(
    "shop_languages",
    metadata,
    Column("shop_id", Text, ForeignKey("shops.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("label", Text),
    Column("i_18_n", Text),
    Column("enabled", Boolean),
)

shop_units_of_length = Table(
    "shop_units_of_length",
    metadata,
    Column("shop_id", Text, ForeignKey("shops.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("label", Text),
    Column("uol", Text),
    Column("default", Boolean),
)

shop_metafields = Table(
    "shop_metafields",
    metadata,
    Column("shop_id", Text, ForeignKey("shops.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("key", Text),
    Column("namespace", Text),
    Column("value", Text),
    Column("value_type", Text),
)

shop_brand_assets = Table(
    "shop_brand_assets",
    metadata,
    Column("shop_id", Text, ForeignKey("shops.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("media_id", Text),
)

shop_emails = Table(
    "shop_emails",
    metadata,
    Column("shop_id", Text, ForeignKey("shops.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("address", Text),
    Column("verified", Boolean),
    Column("provides", Text),
)

shop_units_of_measure = Table(
    "shop_units_of_measure",
    metadata,
    Column("shop_id", Text, ForeignKey("shops.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("uom", Text),
    Column("label", Text),
)
