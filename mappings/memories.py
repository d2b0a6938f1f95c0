"""memoryentries → memories."""

from __future__ import annotations

from typing import Any

from mappings import shared
from migrator.codecs import INDEXED_TEXT, MOMENT, TEXT, UNREADABLE
from migrator.mapping import ABSENT, Collection, Compute, Context, Key, created_at, imply, take
from schema.users import memories


def created_of(context: Context, created: Any, changed: int) -> int:
    """createdAt; LibreChat has none here, so that updated_at stands for both."""
    plain = UNREADABLE if created is ABSENT or created is None else MOMENT.read(created, context.note, "createdAt")
    return plain if isinstance(plain, int) else changed


def created_back(created: int, changed: int) -> Any:
    return ABSENT if created == changed else MOMENT.write(created)


mapping = Collection(
    name="memoryentries",
    table=memories,
    key=Key(path="_id", collection="memoryentries"),
    constants=shared.tenant,
    probes={"value": "to_tsvector('english', {})"},
    rules=(
        shared.owner("userId"),
        take("key", "key", INDEXED_TEXT, required=True),
        take("value", "value", TEXT, required=True),
        take("updated_at", "updated_at", MOMENT, otherwise=created_at),
        Compute(
            columns=("created_at",),
            fields=("createdAt",),
            after=("updated_at",),
            function=created_of,
            to="createdAt",
            reverse=created_back,
            reverse_of=("created_at", "updated_at"),
        ),
        imply("__v", 0),
    ),
)
