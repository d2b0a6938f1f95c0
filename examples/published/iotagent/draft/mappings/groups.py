"""Collection groups → table groups."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import BOOLEAN, INDEXED_TEXT, JSON, JSON_OBJECT, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.groups import (
    group_attributes,
    group_commands,
    group_static_attributes,
    groups,
)

mapping = Collection(
    name="groups",
    table=groups,
    key=shared.GROUPS,
    rules=(
        map_field("resource", "resource", INDEXED_TEXT),
        map_field("type", "type", TEXT),
        map_field("service", "service", TEXT),
        map_field("subservice", "subservice", TEXT),
        map_field("cbHost", "cb_host", TEXT),
        map_field("timezone", "timezone", TEXT),
        map_field("autoprovision", "autoprovision", BOOLEAN),
        map_field("explicitAttrs", "explicit_attrs", JSON),
        map_field("useCBflowControl", "use_c_bflow_control", BOOLEAN),
        map_field("storeLastMeasure", "store_last_measure", BOOLEAN),
        map_field("ngsiVersion", "ngsi_version", TEXT),
        map_field("description", "description", TEXT),
        map_field("timestamp", "timestamp", BOOLEAN),
        Children(
            path="commands",
            table=group_commands,
            parent="group_id",
            rules=(
                map_field("name", "name", TEXT),
                map_field("type", "type", TEXT),
            ),
        ),
        Children(
            path="staticAttributes",
            table=group_static_attributes,
            parent="group_id",
            rules=(
                map_field("name", "name", TEXT),
                map_field("type", "type", TEXT),
                map_field("value", "value", JSON),
            ),
        ),
        Children(
            path="attributes",
            table=group_attributes,
            parent="group_id",
            rules=(
                map_field("object_id", "object_id", TEXT, required=True),
                map_field("name", "name", TEXT, required=True),
                map_field("type", "type", TEXT, required=True),
                map_field("metadata", "metadata", JSON_OBJECT),
                map_field("expression", "expression", TEXT),
            ),
        ),
        imply_field("lazy", []),
        imply_field("internalAttributes", []),
        imply_field("__v", 0),
    ),
)
