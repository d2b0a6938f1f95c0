"""conversations → conversations."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.mapping.codecs import BOOLEAN, INDEXED_TEXT, NUMBER, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Lookup, Row, first_at
from migrator.mapping.references import MemberList
from migrator.mapping.rules import Compute, Entry, FirstCause, JsonObject, imply_field, map_field
from schema.chat import conversations

NAMES = ("agentId", "agent_id")


def agent_keys(documents: Iterable[Document]) -> set[str]:
    """The agents that conversations name."""
    named = (first_at(document, NAMES)[0] for document in documents)
    return {value.replace("\0", "") for value in named if type(value) is str and value}


AGENTS = Lookup("agents", agent_keys, carry=("provider", "model"), fields=NAMES)


def agent_of(context: Context, camel: Any, snake: Any) -> tuple[Any, Any, Any]:
    """agent_id, and the agent's provider and model where there is such an agent."""
    value = snake if camel is ABSENT or camel is None else camel
    if value is ABSENT or value is None:
        return None, None, None
    why = FirstCause(context.note)
    agent_id = INDEXED_TEXT.read(value, why, "agent_id")
    if agent_id is UNREADABLE:
        why.explain("agent_id", value)
        return None, None, None
    found = context.find(AGENTS, agent_id)
    if not found:
        if agent_id:
            context.note("dangling_agent", "agent_id")
        return agent_id, None, None
    return agent_id, found[0].carried["provider"], found[0].carried["model"]


def provider_of(context: Context, endpoint: Any, model: Any, agent_provider: str | None) -> str:
    """By endpoint; for agents the agent's; else by the model's name."""
    name = shared.endpoint_name(context, endpoint)
    if name is None or name == "agents":
        return agent_provider or shared.provider_of_model(context, model)
    return shared.provider_of_endpoint(name)


def model_of(context: Context, model: Any, agent_model: str | None) -> str:
    """The model; for agents the agent's; else `unknown`, with a finding."""
    plain = UNREADABLE if model is ABSENT or model is None else TEXT.read(model, context.note, "model")
    if isinstance(plain, str) and plain:
        return plain
    if agent_model is None:
        context.note("model_unknown", "model")
    return agent_model or "unknown"


def endpoint_back(provider: str, agent_id: str | None) -> Any:
    """agents where there is an agent; else the provider's usual endpoint."""
    return "agents" if agent_id is not None else shared.endpoint_of_provider(provider)


def model_back(model: str, agent_id: str | None) -> Any:
    """An agent's conversation has no model of its own."""
    return ABSENT if agent_id is not None or model == "unknown" else model


# By provider and agent: where a conversation is with one of these providers, LibreChat spells two parameters in that
# provider's way; where it is with an agent, in OpenAI's.
TOP_P = {("anthropic", None): "topP", ("google", None): "topP", ("bedrock", None): "topP"}
MAX_TOKENS = {
    ("anthropic", None): "maxOutputTokens",
    ("google", None): "maxOutputTokens",
    ("bedrock", None): "maxTokens",
}


def owner_of(document: Document, row: Row) -> tuple[Hashable, ...]:
    """LibreChat's conversationId is unique with its user only: the source's, whoever took over from whom."""
    return (shared.source_user(document),)


mapping = Collection(
    name="conversations",
    table=conversations,
    key=shared.CONVERSATIONS,
    constants=shared.tenant,
    owner=owner_of,
    rules=(
        shared.owner("user", as_text=True),
        map_field("title", "title", TEXT),
        Compute(
            columns=("agent_id", "agent.provider", "agent.model"),
            fields=NAMES,
            function=agent_of,
            restores="agent_id",
            reverse=lambda agent_id: ABSENT if agent_id is None else agent_id,
            reverse_inputs=("agent_id",),
            lookups=(AGENTS,),
        ),
        Compute(
            columns=("provider",),
            fields=("endpoint", "model"),
            inputs=("agent.provider",),
            function=provider_of,
            restores="endpoint",
            reverse=endpoint_back,
            reverse_inputs=("provider", "agent_id"),
        ),
        Compute(
            columns=("model",),
            fields=("model",),
            inputs=("agent.model",),
            function=model_of,
            restores="model",
            reverse=model_back,
            reverse_inputs=("model", "agent_id"),
        ),
        JsonObject(
            "parameters",
            (
                Entry("temperature", ("temperature",), NUMBER),
                Entry("topP", ("topP", "top_p"), NUMBER, restore_path="top_p", restore_paths=TOP_P),
                Entry(
                    "maxTokens",
                    ("maxTokens", "max_tokens", "maxOutputTokens"),
                    NUMBER,
                    restore_path="max_tokens",
                    restore_paths=MAX_TOKENS,
                ),
                Entry("presencePenalty", ("presence_penalty", "presencePenalty"), NUMBER),
                Entry("frequencyPenalty", ("frequency_penalty", "frequencyPenalty"), NUMBER),
                Entry("promptPrefix", ("promptPrefix",), TEXT),
                Entry("chatGptLabel", ("chatGptLabel",), TEXT),
                Entry("modelLabel", ("modelLabel",), TEXT),
            ),
            restore_by=("provider", "agent_id"),
        ),
        map_field("isArchived", "archived", BOOLEAN, default=False),
        *shared.dates(),
        MemberList(path="messages", collection="messages", reference_column="conversation_id"),
        imply_field("__v", 0),
        imply_field("isTemporary", False),
        imply_field("tags", []),
        imply_field("files", []),
        imply_field("chatProjectId", None),
    ),
)
