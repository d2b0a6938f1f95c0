"""Collection comments → table comments."""

from __future__ import annotations

from migrator.mapping.codecs import BOOLEAN, DATETIME, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.comments import comments

mapping = Collection(
    name="comments",
    table=comments,
    key=shared.COMMENTS,
    rules=(
        map_field("createdAt", "created_at", DATETIME, required=True),
        map_field("updatedAt", "updated_at", DATETIME, required=True),
        reference_to("post", "post_id", shared.POSTS, shared.AS_OBJECTID),
        map_field("name", "name", TEXT, required=True),
        map_field("text", "text", TEXT, required=True),
        map_field("approved", "approved", BOOLEAN, required=True),
        map_field("parent", "parent_id", IdCodec(shared.COMMENTS, shared.AS_OBJECTID)),
        imply_field("__v", 0),
    ),
)
