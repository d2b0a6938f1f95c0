"""Collection groups → table groups."""

from __future__ import annotations

from migrator.mapping.children import junction
from migrator.mapping.codecs import TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.groups import group_members, groups

mapping = Collection(
    name="groups",
    table=groups,
    key=Key(path="_id", collection="groups"),
    rules=(
        map_field("name", "name", TEXT, required=True),
        reference_to(
            "ownerId",
            "owner_id",
            shared.ACCOUNTS,
            shared.AS_LONG,
            required=True,
        ),
        junction(
            "members",
            group_members,
            parent="group_id",
            reference=reference_to(
                "value",
                "member_id",
                shared.DEVICES,
                shared.AS_UUID,
                required=True,
            ),
        ),
    ),
)
