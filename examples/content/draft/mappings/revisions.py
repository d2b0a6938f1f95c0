"""Collection revisions → table revisions."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import BIGINT, DATETIME, JSON, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.revisions import revision_changes, revisions

mapping = Collection(
    name="revisions",
    table=revisions,
    key=Key(path="_id", collection="revisions"),
    rules=(
        reference_to(
            "article",
            "article_id",
            shared.ARTICLES,
            shared.AS_TEXT,
            required=True,
        ),
        map_field("number", "number", BIGINT, required=True),
        reference_to(
            "editor",
            "editor_id",
            shared.AUTHORS,
            shared.AS_OBJECTID,
            required=True,
        ),
        map_field("at", "at", DATETIME, required=True),
        Children(
            path="changes",
            table=revision_changes,
            parent="revision_id",
            rules=(
                map_field("op", "op", TEXT, required=True),
                map_field("path", "path", TEXT, required=True),
                map_field("value", "value", JSON, restore_null=True),
            ),
        ),
    ),
)
