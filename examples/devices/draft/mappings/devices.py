"""Collection devices → table devices."""

from __future__ import annotations

from migrator.mapping.codecs import BOOLEAN, JSON_OBJECT, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.devices import devices

mapping = Collection(
    name="devices",
    table=devices,
    key=shared.DEVICES,
    rules=(
        map_field("serial", "serial", TEXT, required=True),
        reference_to(
            "modelNumber",
            "model_number",
            shared.MODELS,
            shared.AS_TEXT,
            required=True,
        ),
        reference_to(
            "ownerId",
            "owner_id",
            shared.ACCOUNTS,
            shared.AS_LONG,
            required=True,
        ),
        map_field("location", "location", JSON_OBJECT, required=True),
        map_field("settings", "settings", JSON_OBJECT, required=True),
        map_field("online", "online", BOOLEAN, required=True),
        map_field("gateway", "gateway_id", IdCodec(shared.DEVICES, shared.AS_UUID)),
    ),
)
