"""users → users."""

from __future__ import annotations

from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.mapping.codecs import BOOLEAN, INDEXED_TEXT, JSON_OBJECT, MOMENT, TEXT, Enum
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Lookup, Row, first_at
from migrator.mapping.rules import imply, take
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


class ProviderId:
    """The first id that a login provider gave; it goes back to the field of the account's provider."""

    columns: tuple[str, ...] = ("provider_id",)
    gives: tuple[str, ...] = tuple(PROVIDER_IDS.values())
    lookups: tuple[Lookup, ...] = ()

    def forward(self, document: Document, row: Row, context: Context) -> None:
        value, path = first_at(document, self.gives)
        plain: Any = None if value is ABSENT else TEXT.read(value, context.note, path)
        if plain is not None and not isinstance(plain, str):
            context.note("wrong_type", path)
            plain = None
        row["provider_id"] = plain

    def back(self, row: Row, document: Document) -> None:
        name = PROVIDER_IDS.get(row["provider"] or "")
        if name is not None and row["provider_id"] is not None:
            document[name] = row["provider_id"]


mapping = Collection(
    name="users",
    table=users,
    key=shared.USERS,
    constants=shared.tenant,
    unique={"email": "duplicate_email"},
    rules=(
        take("email", "email", INDEXED_TEXT, required=True),
        take("emailVerified", "email_verified", BOOLEAN, default=False),
        take("password", "password", TEXT),
        take("name", "name", TEXT),
        take("username", "username", TEXT),
        take("avatar", "avatar", TEXT),
        take("tier", "tier", TIER, default="free"),
        take("role", "role", ROLE, default="user"),
        take("provider", "provider", TEXT),
        ProviderId(),
        take("preferences", "preferences", JSON_OBJECT),
        *shared.dates(),
        take(("lastLogin", "lastLoginAt"), "last_login_at", MOMENT),
        imply("__v", 0),
    ),
)
