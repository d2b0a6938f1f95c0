"""Collection media → table media."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import BIGINT, BYTES, TEXT, UUID
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.media import media, media_used_in

mapping = Collection(
    name="media",
    table=media,
    key=Key(path="_id", collection="media", codec=UUID),
    rules=(
        map_field("file", "file", TEXT, required=True),
        map_field("bytes", "bytes", BIGINT, required=True),
        map_field("thumbnail", "thumbnail", BYTES, required=True),
        reference_to(
            "uploadedBy",
            "uploaded_by",
            shared.AUTHORS,
            shared.AS_OBJECTID,
            required=True,
        ),
        Children(
            path="usedIn",
            table=media_used_in,
            parent="media_id",
            rules=(
                reference_to(
                    "article",
                    "article_id",
                    shared.ARTICLES,
                    shared.AS_TEXT,
                    required=True,
                ),
                map_field("position", "position_2", BIGINT, required=True),
            ),
        ),
    ),
)
