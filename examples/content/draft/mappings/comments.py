"""Collection comments → table comments."""

from __future__ import annotations

from migrator.mapping.codecs import BIGINT, BOOLEAN, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.comments import comments

mapping = Collection(
    name="comments",
    table=comments,
    key=shared.COMMENTS,
    rules=(
        reference_to(
            "articleId",
            "article_id",
            shared.ARTICLES,
            shared.AS_TEXT,
            required=True,
        ),
        map_field("text", "text", TEXT, required=True),
        map_field("likes", "likes", BIGINT, required=True),
        map_field("spam", "spam", BOOLEAN, required=True),
        map_field(
            "replyTo",
            "reply_to_id",
            IdCodec(shared.COMMENTS, shared.AS_OBJECTID),
        ),
    ),
)
