"""Collection tags → table tags."""

from __future__ import annotations

from migrator.mapping.codecs import TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import map_field

from mappings import shared
from schema.tags import tags

mapping = Collection(
    name="tags",
    table=tags,
    key=shared.TAGS,
    rules=(map_field("label", "label", TEXT, required=True),),
)
