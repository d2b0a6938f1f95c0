"""Collection sites → table sites."""

from __future__ import annotations

from migrator.mapping.codecs import TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import map_field

from mappings import shared
from schema.sites import sites

mapping = Collection(
    name="sites",
    table=sites,
    key=shared.SITES,
    rules=(map_field("domain", "domain", TEXT),),
)
