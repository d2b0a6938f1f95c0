"""Collection messages → table messages, with the tree of parent messages."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import chain
from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.ids import uuid_text
from migrator.mapping.codecs import BOOLEAN, INTEGER, TEXT, UNREADABLE
from migrator.mapping.collection import Collection, LatestOf, Link, Tree
from migrator.mapping.context import ABSENT, Context, Match, Rejected, Row, type_name
from migrator.mapping.references import Reference, UncheckedReference
from migrator.mapping.rules import Compute, Return, Variants, imply_field, map_field
from migrator.mapping.text_parts import TextParts
from schema.chat import messages

PARTS = TextParts()  # of `content`: [{"type": "text", "text": "…"}, {"type": "think", …}]
NO_PARENT = "00000000-0000-0000-0000-000000000000"


def reject_message(context: Context, document: Document) -> Match:
    """Reject a message whose conversation is missing.

    Raises:
        Rejected: always; the reason says whether the message names a conversation.
    """
    value = document.get("conversationId", ABSENT)
    if value is ABSENT or value is None or value == "":
        raise Rejected("missing_required", f"conversationId ({type_name(value)})")
    raise Rejected("orphan", "conversationId")


def choose_conversation(context: Context, document: Document, candidates: tuple[Match, ...]) -> Match:
    """Return the conversation of the message's own user; if there is none in the source, the one that kept the ID.

    Raises:
        Rejected: the conversation of the message's own user was not loaded.
    """
    user = shared.source_user(document)
    own = [found for found in candidates if user is not None and found.owner == uuid_text(user)]
    if own and own[0].id is None:
        raise Rejected("orphan", "conversationId")
    kept = (found for found in candidates if found.owner is None)
    return next(chain(own, kept), candidates[0])


def compute_role(context: Context, created_by_user: Any, sender: Any) -> str:
    """Return the role: user, system or assistant."""
    by_user = created_by_user
    if by_user is not True and by_user is not False:
        by_user = False if by_user is ABSENT or by_user is None else _read_flag(context, by_user)
    if by_user:
        return "user"
    return "system" if isinstance(sender, str) and sender.lower() == "system" else "assistant"


def _read_flag(context: Context, value: Any) -> bool:
    plain = BOOLEAN.read(value, context.note, "isCreatedByUser")
    if plain is UNREADABLE:
        context.note("wrong_type", f"isCreatedByUser ({type_name(value)})")
    return plain is True


def compute_content(context: Context, text: Any, content: Any) -> str:
    """Return `text`; if it is empty, the text parts of `content`, joined by a blank line.

    Raises:
        Rejected: `text` is not a text, and `content` has no text parts.
    """
    if text.__class__ is str and text and "\0" not in text:
        usual: str = text
        return usual
    if text is ABSENT or text is None or text == "":
        return join_texts(context, content)
    plain = TEXT.read(text, context.note, "text")
    if plain is UNREADABLE or plain == "":
        parts = join_texts(context, content)
        if plain is UNREADABLE:
            if not parts:
                raise Rejected("wrong_type", f"text ({type_name(text)})")
            context.note("wrong_type", f"text ({type_name(text)})")
        return parts
    return str(plain)


def join_texts(context: Context, content: Any) -> str:
    """Join the texts of `[{type: "text", text: "…"}]` and of `{text: {value: "…"}}`.

    A string is read as a part, and a part without a type as a text, with the finding `coerced`.
    """
    joined = PARTS.join(content)
    if joined is not None:
        return joined
    if isinstance(content, str):
        content = [content]
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        text = _text_of_part(part)
        if text:
            texts.append(text)
            if isinstance(part, str) or part.get("type") is None:
                context.note("coerced", "content")
    joined = "\n\n".join(texts)
    if "\0" in joined:
        context.note("nul_removed", "content")
        joined = joined.replace("\0", "")
    return joined


def _text_of_part(part: Any) -> str:
    """Return the text of one part of `content`; '' if it has none."""
    if isinstance(part, str):
        return str(part)
    if not isinstance(part, dict) or part.get("type") not in ("text", None):
        return ""
    text = part.get("text")
    if isinstance(text, dict):
        text = text.get("value")
    return str(text) if isinstance(text, str) else ""


# The default sender of an answer, by provider.
SENDERS = {
    **shared.ENDPOINTS,
    "openai": "GPT-4o",
    "anthropic": "Claude",
    "azure": "Azure OpenAI",
    "google": "Gemini",
    "groq": "Groq",
    "unknown": "Agent",  # its endpoint is agents: see `restore_endpoint`
}


def is_by_agent(provider: str, model: str | None, conversation_provider: str, agent_id: str | None) -> bool:
    """Return whether a message belongs to a conversation with an agent.

    Its provider is then that of the conversation, and its model is the agent's ID or null.
    """
    return agent_id is not None and provider == conversation_provider and (model is None or model.startswith("agent_"))


CONVERSATION_COLUMNS = ("model", "conversation_id.provider", "conversation_id.agent_id")  # inputs of `is_by_agent`


def restore_sender(role: str, provider: str, *conversation: Any) -> Any:
    """Return the usual sender of a message; ABSENT if the provider has none."""
    if role == "user":
        return "User"
    return "Agent" if is_by_agent(provider, *conversation) else SENDERS.get(provider, ABSENT)


def compute_provider(context: Context, endpoint: Any, model: Any, conversation_provider: str) -> str:
    """Return the provider: by endpoint; for agents that of the conversation; otherwise by the name of the model."""
    name = shared.read_endpoint(context, endpoint)
    if name == "agents":
        return conversation_provider
    return shared.detect_provider(context, model) if name is None else shared.provider_of_endpoint(name)


def restore_endpoint(provider: str, *conversation: Any) -> Any:
    """Return `agents` for a message of an agent, otherwise the usual endpoint of the provider."""
    return "agents" if is_by_agent(provider, *conversation) else shared.endpoint_of_provider(provider)


def compute_tokens(context: Context, prompt: Any, completion: Any, count: Any, role: str) -> tuple[Any, Any]:
    """Return prompt and completion tokens: from their own fields, or else from `tokenCount` by role."""
    if (prompt is ABSENT or prompt is None) and (completion is ABSENT or completion is None):
        number = _read_count(context, "tokenCount", count)
        if role == "user":
            return number, None
        return None, number if role == "assistant" else None
    return _read_count(context, "promptTokens", prompt), _read_count(context, "completionTokens", completion)


def _read_count(context: Context, path: str, value: Any) -> int | None:
    if value.__class__ is int and 0 <= value < 2**31:
        usual: int = value
        return usual
    if value is ABSENT or value is None:
        return None
    plain = INTEGER.read(value, context.note, path)
    if plain is UNREADABLE:
        context.note("wrong_type", f"{path} ({type_name(value)})")
        return None
    return int(plain)


def restore_token_count(prompt: int | None, completion: int | None, role: str) -> Any:
    """Return `tokenCount`: the tokens of the prompt for a question, of the completion for an answer."""
    number = prompt if role == "user" else completion
    return ABSENT if number is None else number


def compute_error_message(context: Context, text: Any, kept: Any, error: bool, content: str) -> str | None:
    """Return the text of a message that is an error, or the one that a returned message keeps."""
    if kept is not ABSENT and (value := shared.kept_value(kept, "error_message")) is not ABSENT:
        return None if value is None else str(value)
    return content if error and text is not ABSENT and text is not None else None


def return_tokens(document: Document, row: Row) -> None:
    """Set both numbers of tokens."""
    for name, column in (("promptTokens", "prompt_tokens"), ("completionTokens", "completion_tokens")):
        document.pop(name, None)
        if row[column] is not None:
            document[name] = row[column]
    if row["prompt_tokens"] is None and row["completion_tokens"] is None:
        document.pop("tokenCount", None)


def return_role(document: Document, row: Row) -> None:
    """Set the fields that make the role."""
    document["isCreatedByUser"] = row["role"] == "user"
    sender = document.get("sender")
    if row["role"] == "system":
        document["sender"] = "System"
    elif isinstance(sender, str) and sender.lower() == "system":
        del document["sender"]


def return_provider(document: Document, row: Row) -> None:
    """Set the endpoint of the provider itself, also for a message of an agent."""
    if row["provider"] is not None:
        document["endpoint"] = shared.spelling_of_provider(row["provider"])


# Current versions write an answer as parts and leave `text` empty; older versions wrote `text`, as for questions.
TEXT_VARIANTS = (
    lambda content, role: "" if role == "assistant" else content,
    lambda content, role: content,
    lambda content, role: "",
    lambda content, role: ABSENT,
)
CONTENT_VARIANTS = (
    lambda content, role: [{"type": "text", "text": content}] if role == "assistant" else ABSENT,
    lambda content, role: ABSENT,
    lambda content, role: [{"type": "text", "text": content}],
    lambda content, role: [{"type": "text", "text": {"value": content, "annotations": []}}],
)


def owner_key(document: Document, row: Row) -> tuple[Hashable, ...]:
    """Return the owner of a message: its conversation and user. A messageId is unique per user only."""
    return row["conversation_id"], shared.source_user(document)


mapping = Collection(
    name="messages",
    table=messages,
    key=shared.MESSAGES,
    owner=owner_key,
    links=(Link("children", shared.MESSAGES),),
    tree=Tree(
        parent="parent_id",
        within="conversation_id",
        order="created_at",
        field="parentMessageId",
        link="children",
        disagreement="children_disagree",
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
        shared.temporary("expiredAt"),
        Reference(
            path="conversationId",
            column="conversation_id",
            key=shared.CONVERSATIONS,
            carry=("user_id", "provider", "agent_id"),
            resolve=choose_conversation,
            on_missing=reject_message,
            write=uuid_text,
        ),
        imply_field("user", shared.AS_TEXT.write, "conversation_id.user_id"),
        Compute(columns=("content",), fields=("text", "content"), function=compute_content, parts={"content": PARTS}),
        Compute(
            columns=("role",),
            fields=("isCreatedByUser", "sender"),
            function=compute_role,
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
            function=compute_provider,
            restores="endpoint",
            reverse=restore_endpoint,
            reverse_inputs=("provider", *CONVERSATION_COLUMNS),
        ),
        map_field("finish_reason", "finish_reason", TEXT),
        Compute(
            columns=("prompt_tokens", "completion_tokens"),
            fields=("promptTokens", "completionTokens", "tokenCount"),
            inputs=("role",),
            function=compute_tokens,
            restores="tokenCount",
            reverse=restore_token_count,
            reverse_inputs=("prompt_tokens", "completion_tokens", "role"),
        ),
        map_field("error", "error", BOOLEAN, default=False),
        Compute(
            columns=("error_message",),
            fields=("text", shared.KEPT),
            inputs=("error", "content"),
            function=compute_error_message,
        ),
        *shared.dates(),
        Variants("text", TEXT_VARIANTS, ("content", "role")),
        Variants("content", CONTENT_VARIANTS, ("content", "role"), parts=PARTS),
        imply_field("sender", restore_sender, "role", "provider", *CONVERSATION_COLUMNS),
        imply_field("__v", 0),
        imply_field("unfinished", False),
        imply_field("isTemporary", False),
        imply_field("_meiliIndex", True),
    ),
    returns=(
        Return(("prompt_tokens", "completion_tokens", "role"), return_tokens),
        Return(("role",), return_role),
        Return(("provider", "conversation_id"), return_provider),
        Return(("error", "error_message", "content"), shared.keep_columns("error_message").function),
    ),
)
