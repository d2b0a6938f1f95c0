"""Collection reviews → table reviews."""

from __future__ import annotations

from migrator.mapping.codecs import SMALLINT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.reviews import reviews

mapping = Collection(
    name="reviews",
    table=reviews,
    key=Key(path="_id", collection="reviews"),
    rules=(
        reference_to(
            "product",
            "product_id",
            shared.PRODUCTS,
            shared.AS_OBJECTID,
            required=True,
        ),
        reference_to("author", "author_id", shared.CUSTOMERS, shared.AS_OBJECTID),
        map_field("stars", "stars", SMALLINT, required=True),
    ),
)
