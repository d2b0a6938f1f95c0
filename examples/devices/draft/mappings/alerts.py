"""Collection alerts → table alerts."""

from __future__ import annotations

from migrator.mapping.codecs import DATETIME, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.alerts import alerts

mapping = Collection(
    name="alerts",
    table=alerts,
    key=Key(path="_id", collection="alerts"),
    rules=(
        reference_to(
            "device",
            "device_id",
            shared.DEVICES,
            shared.AS_UUID,
            required=True,
        ),
        map_field("level", "level", TEXT, required=True),
        map_field("raised", "raised", DATETIME),
        reference_to(
            "acknowledgedBy",
            "acknowledged_by",
            shared.ACCOUNTS,
            shared.AS_LONG,
            required=True,
        ),
    ),
)
