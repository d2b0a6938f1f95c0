"""Collection accounts → table accounts."""

from __future__ import annotations

from migrator.mapping.codecs import BIGINT, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import map_field

from mappings import shared
from schema.accounts import accounts

mapping = Collection(
    name="accounts",
    table=accounts,
    key=shared.ACCOUNTS,
    rules=(
        map_field("name", "name", TEXT, required=True),
        map_field("limits.devices", "limits_devices", BIGINT, required=True),
        map_field("limits.users", "limits_users", BIGINT, required=True),
    ),
)
