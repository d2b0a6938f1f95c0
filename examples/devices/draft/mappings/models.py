"""Collection models → table models."""

from __future__ import annotations

from migrator.mapping.codecs import TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import map_field

from mappings import shared
from schema.models import models

mapping = Collection(
    name="models",
    table=models,
    key=shared.MODELS,
    rules=(map_field("name", "name", TEXT),),
)
