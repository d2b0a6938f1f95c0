"""Collection users → table users."""

from __future__ import annotations

from typing import Any

from mappings import shared
from mappings.settings import Settings
from migrator.documents.codec import Document
from migrator.mapping.codecs import BOOLEAN, DATETIME, INDEXED_TEXT, JSON_OBJECT, TEXT, Enum
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Row, first_at
from migrator.mapping.rules import CustomRule, Return, imply_field, map_field
from schema.users import users

PROVIDER_IDS = {
    "google": "googleId",
    "facebook": "facebookId",
    "openid": "openidId",
    "saml": "samlId",
    "ldap": "ldapId",
    "github": "githubId",
    "discord": "discordId",
    "apple": "appleId",
}
TIER = Enum(("free", "pro", "admin"))
ROLE = Enum(("user", "admin", "assistant", "system"), spelling=str.upper)  # LibreChat writes USER and ADMIN


class ProviderId(CustomRule):
    """The first ID of a login provider. It is restored to the field of the account's provider."""

    columns: tuple[str, ...] = ("provider_id",)
    source_paths: tuple[str, ...] = tuple(PROVIDER_IDS.values())
    restored_fields: tuple[str, ...] = source_paths

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        value, path = first_at(document, self.source_paths)
        plain: Any = None if value is ABSENT else TEXT.read(value, context.note, path)
        if plain is not None and not isinstance(plain, str):
            context.note("wrong_type", path)
            plain = None
        row["provider_id"] = plain

    def to_document(self, row: Row, document: Document) -> None:
        name = PROVIDER_IDS.get(row["provider"] or "")
        if name is not None and row["provider_id"] is not None:
            document[name] = row["provider_id"]


def return_provider_id(document: Document, row: Row) -> None:
    """Set the ID in the field that has one, otherwise in the field of the account's provider, or of OpenID."""
    names = [name for name in PROVIDER_IDS.values() if name in document]
    for name in names:
        del document[name]
    usual = PROVIDER_IDS.get(row["provider"] or "")
    if row["provider_id"] is not None:
        document[usual or (names[0] if names else "openidId")] = row["provider_id"]


def merged_duplicates(settings: Settings) -> frozenset[str]:
    """Return the reject reasons for which the later account is merged into the earlier one."""
    return frozenset({"duplicate_email"} if settings.policies.duplicate_email == "merge" else ())


mapping = Collection(
    name="users",
    table=users,
    key=shared.USERS,
    unique={"email": "duplicate_email"},
    merged=merged_duplicates,
    rules=(
        shared.temporary("expiresAt"),
        map_field("email", "email", INDEXED_TEXT, required=True),
        map_field("emailVerified", "email_verified", BOOLEAN, default=False),
        map_field("password", "password", TEXT),
        map_field("name", "name", TEXT),
        map_field("username", "username", TEXT),
        map_field("avatar", "avatar", TEXT),
        map_field("tier", "tier", TIER, default="free"),
        map_field("role", "role", ROLE, default="user"),
        map_field("provider", "provider", TEXT),
        ProviderId(),
        map_field("preferences", "preferences", JSON_OBJECT),
        *shared.dates(),
        map_field(("lastLogin", "lastLoginAt"), "last_login_at", DATETIME),
        imply_field("__v", 0),
    ),
    returns=(Return(("provider", "provider_id"), return_provider_id),),
)
