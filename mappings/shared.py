"""Definitions that several mappings share: keys, owners, dates, endpoints. Not here: mappings."""

from __future__ import annotations

from typing import Any

from migrator.documents.codec import Document
from migrator.ids import uuid_text
from migrator.mapping.codecs import DATETIME, TEXT, UNREADABLE, ObjectIdText
from migrator.mapping.context import ABSENT, Archived, Context, Match, Rejected, Row, type_name
from migrator.mapping.defaults import created_at, updated_at
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import Field, Filter, Return, map_field

USERS = Key(path="_id", collection="users")
FILES = Key(path="file_id", collection="files")
CONVERSATIONS = Key(path="conversationId", collection="conversations")
MESSAGES = Key(path="messageId", collection="messages")
COURSES = Key(path="_id", collection="courses")
MODULES = Key(path="_id", collection="modules")

AS_OBJECTID, AS_TEXT = ObjectIdText(), ObjectIdText(as_text=True)


def dates(created: str = "createdAt", updated: str = "updatedAt") -> tuple[Field, Field]:
    """Return the rules for created_at and updated_at, with their defaults."""
    return (
        map_field(created, "created_at", DATETIME, default_factory=created_at),
        map_field(updated, "updated_at", DATETIME, default_factory=updated_at),
    )


def temporary(path: str) -> Filter:
    """Return the rule for documents with an expiry date in the field `path`: see `policies.temporary`."""

    def report_or_archive(context: Context, expires: Any) -> None:
        if context.options.config.policies.temporary == "archive":
            raise Archived("temporary", path)
        context.note("temporary", path)

    return Filter(report_or_archive, (path,), if_present=True)


def find_adopter(context: Context, path: str, value: Any) -> Match:
    """Return the user of `policies.orphan_owner`, or reject a document whose owner is missing.

    Raises:
        Rejected: `policies.orphan_owner` is not set.
    """
    if context.options.adopter is None:
        raise Rejected("orphan", f"{path} ({type_name(value)})")
    context.note("orphan_adopted", path)
    return Match(context.options.adopter, {})


def source_user(document: Document) -> bytes | None:
    """Return the UUID of the user that owns a conversation or message in the source; None without a user."""
    user = document.get("user")
    return None if user is None else USERS.uuid(user)


def owner(path: str, *, as_text: bool = False, column: str = "user_id") -> Reference:
    """Return the reference to the owner of a document. The source stores it as an ObjectId, or as its text."""
    return Reference(
        path=path,
        column=column,
        key=USERS,
        on_missing=lambda context, document: find_adopter(context, path, document.get(path, ABSENT)),
        write=(AS_TEXT if as_text else AS_OBJECTID).write,
    )


# The subdocument in which returned documents keep values of columns that have no field in LibreChat.
KEPT = "_postgres"


def kept_value(kept: Any, column: str) -> Any:
    """Return the value of a column that a returned document keeps, a text or None; ABSENT if it keeps none."""
    value = kept.get(column, ABSENT) if type(kept) is dict else ABSENT
    return value if value is None or (type(value) is str and "\0" not in value) else ABSENT


def keep_columns(*columns: str) -> Return:
    """Return the rule that keeps columns in the subdocument of returned documents. UUIDs become texts."""

    def keep(document: Document, row: Row) -> None:
        kept = document.get(KEPT)
        values = {name: uuid_text(row[name]) if type(row[name]) is bytes else row[name] for name in columns}
        document[KEPT] = {**kept, **values} if type(kept) is dict else values

    return Return(columns, keep)


# LibreChat's endpoint → provider. Any other endpoint is its own provider, in lower case.
PROVIDERS = {
    "openAI": "openai",
    "assistants": "openai",
    "gptPlugins": "openai",
    "azureOpenAI": "azure",
    "azureAssistants": "azure",
    "anthropic": "anthropic",
    "google": "google",
    "bedrock": "bedrock",
    "xai": "xai",
}
# Provider → endpoint, where the names differ: LibreChat's own endpoints, then the custom ones of its documentation.
ENDPOINTS = {
    "openai": "openAI",
    "azure": "azureOpenAI",
    **{name.lower(): name for name in ("OpenRouter", "Mistral", "Perplexity", "Deepseek", "Anyscale", "Ollama")},
}
# The usual cause of an unknown provider: the endpoint is agents, and the agent does not exist.
UNKNOWN = "unknown"
_PREFIXES = (
    (("gpt-", "o1", "o3", "chatgpt"), "openai"),
    (("claude",), "anthropic"),
    (("gemini",), "google"),
    (("grok",), "xai"),
)


def provider_of_endpoint(endpoint: str) -> str:
    """Return the provider of an endpoint: openAI → openai, azureAssistants → azure, OpenRouter → openrouter."""
    return PROVIDERS.get(endpoint) or endpoint.lower().replace("\0", "")


def read_provider(context: Context, provider: Any) -> str:
    """Return the provider of an agent, whose field has the name of an endpoint.

    Raises:
        Rejected: the provider is missing or not a text.
    """
    if provider is ABSENT or provider is None:
        raise Rejected("missing_required", f"provider ({type_name(provider)})")
    plain = TEXT.read(provider, context.note, "provider")
    if plain is UNREADABLE:
        raise Rejected("wrong_type", f"provider ({type_name(provider)})")
    return provider_of_endpoint(str(plain))


def spelling_of_provider(provider: str) -> str:
    """Return the spelling that the application usually has for a provider."""
    return ENDPOINTS.get(provider, provider)


def endpoint_of_provider(provider: str) -> str:
    """Return the endpoint that documents of a provider usually have."""
    return "agents" if provider == UNKNOWN else spelling_of_provider(provider)


def detect_provider(context: Context, model: Any) -> str:
    """Return the provider by the prefix of the model's name; `unknown`, with a finding, if there is none."""
    if type(model) is str:
        for prefixes, provider in _PREFIXES:
            if model.lower().startswith(prefixes):
                return provider
    context.note("provider_unknown", "endpoint")
    return UNKNOWN


def read_endpoint(context: Context, endpoint: Any) -> str | None:
    """Return the endpoint, or None if it is empty or not a text. Another type than text is a finding."""
    if endpoint is ABSENT or endpoint is None or endpoint == "":
        return None
    if type(endpoint) is str:  # bson.Code is a str without a hash
        if "\0" in endpoint:
            context.note("nul_removed", "endpoint")
        return endpoint
    context.note("wrong_type", f"endpoint ({type_name(endpoint)})")
    return None
