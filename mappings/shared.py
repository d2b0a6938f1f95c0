"""What several mappings of this migration share: keys, owners, dates, endpoints. No mapping here."""

from __future__ import annotations

from typing import Any

from migrator.documents.codec import Document
from migrator.mapping.codecs import DATETIME, ObjectIdText
from migrator.mapping.context import ABSENT, Context, Match, Rejected, Row, type_name
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import Field, created_at, map_field, updated_at

USERS = Key(path="_id", collection="users")
FILES = Key(path="file_id", collection="files")
CONVERSATIONS = Key(path="conversationId", collection="conversations")
MESSAGES = Key(path="messageId", collection="messages")
COURSES = Key(path="_id", collection="courses")
MODULES = Key(path="_id", collection="modules")

AS_OBJECTID, AS_TEXT = ObjectIdText(), ObjectIdText(as_text=True)


def tenant(options: Any) -> Row:
    """Everything goes to the one tenant."""
    return {"tenant_id": options.tenant.bytes}


def dates(created: str = "createdAt", updated: str = "updatedAt") -> tuple[Field, Field]:
    """created_at and updated_at, with their fallbacks."""
    return (
        map_field(created, "created_at", DATETIME, default_factory=created_at),
        map_field(updated, "updated_at", DATETIME, default_factory=updated_at),
    )


def adopt(context: Context, path: str, value: Any) -> Match:
    """What becomes of a document whose owner is gone: `policies.orphan_owner`."""
    if context.options.adopter is None:
        raise Rejected("orphan", f"{path} ({type_name(value)})")
    context.note("orphan_adopted", path)
    return Match(context.options.adopter, {})


def source_user(document: Document) -> bytes | None:
    """Who owns a conversation or message in the source, as the target would call that user."""
    user = document.get("user")
    return None if user is None else USERS.uuid(user)


def owner(path: str, *, as_text: bool = False, column: str = "user_id") -> Reference:
    """A reference to the user a document belongs to, stored as an ObjectId or as its text."""
    return Reference(
        path=path,
        column=column,
        key=USERS,
        on_missing=lambda context, document: adopt(context, path, document.get(path, ABSENT)),
        write=(AS_TEXT if as_text else AS_OBJECTID).write,
    )


# LibreChat's endpoint → provider; what is not here keeps its own name in lower case.
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
# The way back, where it is not the provider's own name: LibreChat's own endpoints, then the custom ones of its guide.
ENDPOINTS = {
    "openai": "openAI",
    "azure": "azureOpenAI",
    **{name.lower(): name for name in ("OpenRouter", "Mistral", "Perplexity", "Deepseek", "Anyscale", "Ollama")},
}
# A provider is unknown where the endpoint is agents and the agent is not to be found; hardly ever for another reason.
UNKNOWN = "unknown"
_PREFIXES = (
    (("gpt-", "o1", "o3", "chatgpt"), "openai"),
    (("claude",), "anthropic"),
    (("gemini",), "google"),
    (("grok",), "xai"),
)


def provider_of_endpoint(endpoint: str) -> str:
    """openAI → openai, azureAssistants → azure, OpenRouter → openrouter."""
    return PROVIDERS.get(endpoint) or endpoint.lower().replace("\0", "")


def endpoint_of_provider(provider: str) -> str:
    """The endpoint that a provider's documents usually name."""
    return "agents" if provider == UNKNOWN else ENDPOINTS.get(provider, provider)


def provider_of_model(context: Context, model: Any) -> str:
    """The provider that a model's name begins with; `unknown`, with a finding, for any other."""
    if type(model) is str:
        for prefixes, provider in _PREFIXES:
            if model.lower().startswith(prefixes):
                return provider
    context.note("provider_unknown", "endpoint")
    return UNKNOWN


def endpoint_name(context: Context, endpoint: Any) -> str | None:
    """The endpoint where it says something; another type than a text is a finding."""
    if endpoint is ABSENT or endpoint is None or endpoint == "":
        return None
    if type(endpoint) is str:  # bson.Code is a str without a hash
        if "\0" in endpoint:
            context.note("nul_removed", "endpoint")
        return endpoint
    context.note("wrong_type", f"endpoint ({type_name(endpoint)})")
    return None
