"""messages → messages, with the tree of parents."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import chain, zip_longest
from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.ids import uuid_text
from migrator.mapping.codecs import BOOLEAN, INTEGER, TEXT, UNREADABLE
from migrator.mapping.collection import Collection, LatestOf, Link, Tree
from migrator.mapping.context import ABSENT, Context, Match, Rejected, Row, type_name
from migrator.mapping.references import Reference, UncheckedReference
from migrator.mapping.rules import Compute, Variants, imply_field, map_field
from schema.chat import messages

NO_PARENT = "00000000-0000-0000-0000-000000000000"


def no_conversation(context: Context, document: Document) -> Match:
    value = document.get("conversationId", ABSENT)
    if value is ABSENT or value is None or value == "":
        raise Rejected("missing_required", f"conversationId ({type_name(value)})")
    raise Rejected("orphan", "conversationId")


def own_conversation(context: Context, document: Document, candidates: tuple[Match, ...]) -> Match:
    """The conversation of the message's own user; where that user has none of the id, the one that kept the id."""
    user = shared.source_user(document)
    own = (found for found in candidates if user is not None and found.owner == uuid_text(user))
    kept = (found for found in candidates if found.owner is None)
    return next(chain(own, kept), candidates[0])


def role_of(context: Context, created_by_user: Any, sender: Any) -> str:
    """user, system or assistant."""
    by_user = created_by_user
    if by_user is not True and by_user is not False:
        by_user = False if by_user is ABSENT or by_user is None else _truth(context, by_user)
    if by_user:
        return "user"
    return "system" if isinstance(sender, str) and sender.lower() == "system" else "assistant"


def _truth(context: Context, value: Any) -> bool:
    plain = BOOLEAN.read(value, context.note, "isCreatedByUser")
    if plain is UNREADABLE:
        context.note("wrong_type", f"isCreatedByUser ({type_name(value)})")
    return plain is True


def content_of(context: Context, text: Any, content: Any) -> str:
    """`text`; where it is empty, the text parts of `content`, joined by a blank line."""
    if text.__class__ is str and text and "\0" not in text:
        return str(text)
    if text is ABSENT or text is None or text == "":
        return text_parts(context, content)
    plain = TEXT.read(text, context.note, "text")
    if plain is UNREADABLE or plain == "":
        parts = text_parts(context, content)
        if plain is UNREADABLE:
            if not parts:
                raise Rejected("wrong_type", f"text ({type_name(text)})")
            context.note("wrong_type", f"text ({type_name(text)})")
        return parts
    return str(plain)


def text_parts(context: Context, content: Any) -> str:
    """The texts of `[{type: "text", text: "…"}]` and of `{text: {value: "…"}}`; a plain string is one part."""
    if isinstance(content, str):
        context.note("coerced", "content")
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        if isinstance(part, dict) and part.get("type") == "text":
            text = part.get("text")
            if isinstance(text, dict):
                text = text.get("value")
            if isinstance(text, str) and text:
                texts.append(text)
    joined = "\n\n".join(texts)
    if "\0" in joined:
        context.note("nul_removed", "content")
        joined = joined.replace("\0", "")
    return joined


# What LibreChat calls an assistant where nothing else names it.
SENDERS = {
    **shared.ENDPOINTS,
    "openai": "GPT-4o",
    "anthropic": "Claude",
    "azure": "Azure OpenAI",
    "google": "Gemini",
    "groq": "Groq",
    "unknown": "Agent",  # as its endpoint is agents: see endpoint_back
}


def is_agents(provider: str, model: str | None, talk_provider: str, agent_id: str | None) -> bool:
    """Whether a message is an agent's or to one: its provider is its talk's then, its model the agent's id or null."""
    return agent_id is not None and provider == talk_provider and (model is None or model.startswith("agent_"))


OF_TALK = ("model", "conversation_id.provider", "conversation_id.agent_id")  # what `is_agents` asks beside the provider


def sender_back(role: str, provider: str, *talk: Any) -> Any:
    if role == "user":
        return "User"
    return "Agent" if is_agents(provider, *talk) else SENDERS.get(provider, ABSENT)


def provider_of(context: Context, endpoint: Any, model: Any, conversation_provider: str) -> str:
    name = shared.endpoint_name(context, endpoint)
    if name == "agents":
        return conversation_provider
    return shared.provider_of_model(context, model) if name is None else shared.provider_of_endpoint(name)


def endpoint_back(provider: str, *talk: Any) -> Any:
    return "agents" if is_agents(provider, *talk) else shared.endpoint_of_provider(provider)


def tokens_of(context: Context, prompt: Any, completion: Any, count: Any, role: str) -> tuple[Any, Any]:
    """Own fields where there are any; else `tokenCount` by role."""
    if (prompt is ABSENT or prompt is None) and (completion is ABSENT or completion is None):
        number = _whole(context, "tokenCount", count)
        if role == "user":
            return number, None
        return None, number if role == "assistant" else None
    return _whole(context, "promptTokens", prompt), _whole(context, "completionTokens", completion)


def _whole(context: Context, path: str, value: Any) -> int | None:
    if value.__class__ is int and 0 <= value < 2**31:
        return int(value)
    if value is ABSENT or value is None:
        return None
    plain = INTEGER.read(value, context.note, path)
    if plain is UNREADABLE:
        context.note("wrong_type", f"{path} ({type_name(value)})")
        return None
    return int(plain)


def tokens_back(prompt: int | None, completion: int | None, role: str) -> Any:
    number = prompt if role == "user" else completion
    return ABSENT if number is None else number


def error_message_of(context: Context, text: Any, error: bool, content: str) -> str | None:
    return content if error and text is not ABSENT and text is not None else None


# An assistant of today writes parts and leaves `text` empty; one of yesterday wrote `text`, as users do.
TEXT_FORMS = (
    lambda content, role: "" if role == "assistant" else content,
    lambda content, role: content,
    lambda content, role: "",
    lambda content, role: ABSENT,
)
CONTENT_FORMS = (
    lambda content, role: [{"type": "text", "text": content}] if role == "assistant" else ABSENT,
    lambda content, role: ABSENT,
    lambda content, role: [{"type": "text", "text": content}],
    lambda content, role: [{"type": "text", "text": {"value": content, "annotations": []}}],
)


def cut_texts(value: Any, content: str, role: str) -> Document | None:
    """The parts of `content` without the texts that the column has: `in` the parts, `at` where texts were cut out.

    `at` names the place of each such part, and between the places how long each text was: the last goes to the end.
    """
    if type(value) is not list:
        return None
    parts, at, texts = [], [], []
    for place, part in enumerate(value):
        text = part.get("text") if type(part) is dict and part.get("type") == "text" else None
        if type(text) is str and text:
            at += [place, len(text)]
            texts.append(text)
            part = {**part, "text": None}
        parts.append(part)
    return {"in": parts, "at": at[:-1]} if texts and "\n\n".join(texts) == content else None


def mend_texts(rest: Document, content: str, role: str) -> Any:
    """The parts with their texts."""
    parts, at, start = list(rest["in"]), rest["at"], 0
    for place, length in zip_longest(at[::2], at[1::2]):
        end = None if length is None else start + length
        parts[place] = {**parts[place], "text": content[start:end]}
        start = (end or 0) + 2
    return parts


def owner_of(document: Document, row: Row) -> tuple[Hashable, ...]:
    """LibreChat's messageId is unique with its user only; and a message belongs to its conversation."""
    return row["conversation_id"], shared.source_user(document)


mapping = Collection(
    name="messages",
    table=messages,
    key=shared.MESSAGES,
    constants=shared.tenant,
    owner=owner_of,
    links=(Link("children", shared.MESSAGES),),
    tree=Tree(
        parent="parent_id", within="conversation_id", order="created_at", field="parentMessageId", link="children"
    ),
    latest_values=(
        LatestOf(
            table="conversations",
            column="last_message_at",
            value_column="created_at",
            reference_column="conversation_id",
        ),
    ),
    probes={"content": "to_tsvector('english', {})"},
    low_cardinality=frozenset({"isCreatedByUser", "sender", "model", "endpoint", "finish_reason"}),
    after=("users",),
    rules=(
        Reference(
            path="conversationId",
            column="conversation_id",
            key=shared.CONVERSATIONS,
            carry=("user_id", "provider", "agent_id"),
            resolve=own_conversation,
            on_missing=no_conversation,
            write=uuid_text,
        ),
        imply_field("user", shared.AS_TEXT.write, "conversation_id.user_id"),
        Compute(columns=("content",), fields=("text", "content"), function=content_of),
        Compute(
            columns=("role",),
            fields=("isCreatedByUser", "sender"),
            function=role_of,
            restores="isCreatedByUser",
            reverse=lambda role: role == "user",
            reverse_inputs=("role",),
        ),
        UncheckedReference(
            path="parentMessageId", column="parent_id", key=shared.MESSAGES, null_values=(NO_PARENT, "")
        ),
        map_field("model", "model", TEXT, restore_null=True),
        Compute(
            columns=("provider",),
            fields=("endpoint", "model"),
            inputs=("conversation_id.provider",),
            function=provider_of,
            restores="endpoint",
            reverse=endpoint_back,
            reverse_inputs=("provider", *OF_TALK),
        ),
        map_field("finish_reason", "finish_reason", TEXT),
        Compute(
            columns=("prompt_tokens", "completion_tokens"),
            fields=("promptTokens", "completionTokens", "tokenCount"),
            inputs=("role",),
            function=tokens_of,
            restores="tokenCount",
            reverse=tokens_back,
            reverse_inputs=("prompt_tokens", "completion_tokens", "role"),
        ),
        map_field("error", "error", BOOLEAN, default=False),
        Compute(columns=("error_message",), fields=("text",), inputs=("error", "content"), function=error_message_of),
        *shared.dates(),
        Variants("text", TEXT_FORMS, ("content", "role")),
        Variants("content", CONTENT_FORMS, ("content", "role"), cut_texts, mend_texts),
        imply_field("sender", sender_back, "role", "provider", *OF_TALK),
        imply_field("__v", 0),
        imply_field("unfinished", False),
        imply_field("isTemporary", False),
        imply_field("_meiliIndex", True),
    ),
)
