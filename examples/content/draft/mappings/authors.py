"""Collection authors → table authors."""

from __future__ import annotations

from migrator.mapping.codecs import TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import map_field

from mappings import shared
from schema.authors import authors

mapping = Collection(
    name="authors",
    table=authors,
    key=shared.AUTHORS,
    rules=(
        map_field("handle", "handle", TEXT, required=True),
        map_field("bio", "bio", TEXT, required=True),
    ),
)
