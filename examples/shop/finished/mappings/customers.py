"""Collection customers → table customers."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import INDEXED_TEXT, LONG, OBJECTID_HEX, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import map_field

from mappings import shared
from schema.customers import customer_addresses, customers

mapping = Collection(
    name="customers",
    table=customers,
    key=shared.CUSTOMERS,
    unique={"email": "duplicate_key"},
    rules=(
        map_field("email", "email", INDEXED_TEXT, required=True),
        map_field("name.first", "first_name", TEXT, required=True),
        map_field("name.last", "last_name", TEXT, required=True),
        map_field("loyaltyPoints", "loyalty_points", LONG, required=True),
        map_field("phone", "phone", TEXT),
        Children(
            path="addresses",
            table=customer_addresses,
            parent="customer_id",
            rules=(
                map_field("_id", "mongo_id", OBJECTID_HEX, required=True),
                map_field("street", "street", TEXT, required=True),
                map_field("zip", "zip", TEXT, required=True),
            ),
        ),
    ),
)
