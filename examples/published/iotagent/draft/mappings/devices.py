"""Collection devices → table devices."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import (
    BOOLEAN,
    DATETIME,
    INDEXED_TEXT,
    JSON,
    JSON_OBJECT,
    TEXT,
    Array,
)
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.devices import (
    device_commands,
    device_lazy,
    device_static_attributes,
    device_subscriptions,
    devices,
)

mapping = Collection(
    name="devices",
    table=devices,
    key=Key(path="_id", collection="devices"),
    rules=(
        map_field("id", "device_id", INDEXED_TEXT, required=True),
        map_field("type", "type", TEXT, required=True),
        map_field("name", "name", TEXT, required=True),
        map_field("active", "active", JSON),
        reference_to(
            "apikey",
            "apikey_id",
            shared.GROUPS,
            shared.AS_TEXT,
            required=True,
        ),
        map_field("resource", "resource", TEXT, required=True),
        map_field("protocol", "protocol", TEXT),
        map_field("transport", "transport", TEXT, required=True),
        map_field("service", "service", INDEXED_TEXT, required=True),
        map_field("subservice", "subservice", INDEXED_TEXT, required=True),
        map_field("timezone", "timezone", TEXT),
        map_field("timestamp", "timestamp", BOOLEAN),
        map_field("creationDate", "creation_date", DATETIME),
        map_field("autoprovision", "autoprovision", BOOLEAN),
        map_field("storeLastMeasure", "store_last_measure", BOOLEAN, required=True),
        map_field("lastMeasure", "last_measure", JSON_OBJECT),
        map_field("registrationId", "registration_id", TEXT),
        map_field("polling", "polling", BOOLEAN),
        map_field("internalAttributes", "internal_attributes", JSON_OBJECT),
        map_field("explicitAttrs", "explicit_attrs", JSON),
        map_field("oldCtxt", "old_ctxt", JSON_OBJECT),
        map_field("cmdMode", "cmd_mode", TEXT),
        Children(
            path="lazy",
            table=device_lazy,
            parent="device_id",
            rules=(
                map_field("object_id", "object_id", TEXT, required=True),
                map_field("name", "name", TEXT, required=True),
                map_field("type", "type", TEXT, required=True),
                map_field("expression", "expression", TEXT),
                map_field("metadata", "metadata", JSON_OBJECT),
            ),
        ),
        Children(
            path="commands",
            table=device_commands,
            parent="device_id",
            rules=(
                map_field("name", "name", TEXT, required=True),
                map_field("type", "type", TEXT, required=True),
            ),
        ),
        Children(
            path="staticAttributes",
            table=device_static_attributes,
            parent="device_id",
            rules=(
                map_field("name", "name", TEXT, required=True),
                map_field("type", "type", TEXT, required=True),
                map_field("value", "value", JSON),
            ),
        ),
        Children(
            path="subscriptions",
            table=device_subscriptions,
            parent="device_id",
            rules=(
                map_field("id", "device_subscription_id", TEXT, required=True),
                map_field("triggers", "triggers", Array(TEXT), required=True),
            ),
        ),
        imply_field("__v", 0),
    ),
)
