"""Collection readings → table readings."""

from __future__ import annotations

from migrator.mapping.codecs import DATETIME, JSON_OBJECT, Double
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.readings import readings

mapping = Collection(
    name="readings",
    table=readings,
    key=Key(path="_id", collection="readings"),
    rules=(
        reference_to(
            "deviceId",
            "device_id",
            shared.DEVICES,
            shared.AS_UUID,
            required=True,
        ),
        map_field("at", "at", DATETIME, required=True),
        map_field("values", "values", JSON_OBJECT, required=True),
        map_field("battery", "battery", Double(whole_as_int=True), required=True),
    ),
)
