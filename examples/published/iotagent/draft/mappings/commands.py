"""Collection commands → table commands."""

from __future__ import annotations

from migrator.mapping.codecs import BOOLEAN, DATETIME, JSON, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key
from migrator.mapping.rules import imply_field, map_field

from schema.commands import commands

mapping = Collection(
    name="commands",
    table=commands,
    key=Key(path="_id", collection="commands"),
    rules=(
        map_field("deviceId", "device_id", TEXT),
        map_field("type", "type", TEXT, required=True),
        map_field("name", "name", TEXT, required=True),
        map_field("value", "value", JSON, restore_null=True),
        map_field("service", "service", TEXT, required=True),
        map_field("subservice", "subservice", TEXT, required=True),
        map_field("execTs", "exec_ts", DATETIME),
        map_field("status", "status", TEXT, required=True),
        map_field("onOk.notify", "on_ok_notify", BOOLEAN),
        map_field("cmdExecution", "cmd_execution", BOOLEAN, required=True),
        map_field("dateExpiration", "date_expiration", DATETIME),
        map_field("creationDate", "creation_date", DATETIME, required=True),
        map_field("info", "info", TEXT),
        imply_field("__v", 0),
    ),
)
