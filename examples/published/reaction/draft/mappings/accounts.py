"""Collection Accounts → table accounts."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import BOOLEAN, DATETIME, JSON, JSON_OBJECT, TEXT, Array
from migrator.mapping.collection import Collection
from migrator.mapping.references import reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.accounts import account_emails, account_metafields, accounts

mapping = Collection(
    name="Accounts",
    table=accounts,
    key=shared.ACCOUNTS,
    rules=(
        map_field("userId", "user_id", TEXT, required=True),
        reference_to("shopId", "shop_id", shared.SHOPS, shared.AS_TEXT),
        map_field("name", "name", TEXT, required=True),
        map_field("username", "username", TEXT, required=True),
        map_field("acceptsMarketing", "accepts_marketing", BOOLEAN),
        map_field("state", "state", TEXT),
        map_field("taxSettings", "tax_settings", JSON_OBJECT),
        map_field("profile", "profile", JSON_OBJECT),
        map_field("groups", "groups", JSON),
        map_field("createdAt", "created_at", DATETIME, required=True),
        map_field("note", "note", TEXT),
        map_field("updatedAt", "updated_at", DATETIME),
        map_field("sessions", "sessions", Array(TEXT)),
        Children(
            path="metafields",
            table=account_metafields,
            parent="account_id",
            rules=(
                map_field("key", "key", TEXT),
                map_field("scope", "scope", TEXT),
                map_field("value", "value", TEXT),
                map_field("valueType", "value_type", TEXT),
                map_field("description", "description", TEXT),
                map_field("namespace", "namespace", TEXT),
            ),
        ),
        Children(
            path="emails",
            table=account_emails,
            parent="account_id",
            rules=(
                map_field("address", "address", TEXT, required=True),
                map_field("verified", "verified", BOOLEAN, required=True),
                map_field("provides", "provides", TEXT, required=True),
            ),
        ),
    ),
)
