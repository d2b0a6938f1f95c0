"""Collection users → table users."""

from __future__ import annotations

from migrator.mapping.codecs import BIGINT, DATETIME, INDEXED_TEXT, TEXT, Array
from migrator.mapping.collection import Collection
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.users import users

mapping = Collection(
    name="users",
    table=users,
    key=shared.USERS,
    unique={"email": "duplicate_key"},
    rules=(
        map_field("createdAt", "created_at", DATETIME),
        map_field("updatedAt", "updated_at", DATETIME),
        map_field("roles", "roles", Array(TEXT)),
        map_field("email", "email", INDEXED_TEXT),
        map_field("salt", "salt", TEXT),
        map_field("hash", "hash", TEXT),
        map_field("loginAttempts", "login_attempts", BIGINT),
        map_field("name", "name", TEXT),
        imply_field("__v", 0),
    ),
)
