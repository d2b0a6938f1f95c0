"""Collection conversations → table conversations."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.mapping.codecs import BOOLEAN, INDEXED_TEXT, NUMBER, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Lookup, Row, first_at
from migrator.mapping.json_objects import Entry, JsonObject
from migrator.mapping.references import MemberList
from migrator.mapping.rules import Compute, FirstCause, Return, imply_field, map_field
from schema.chat import conversations

AGENT_FIELDS = ("agentId", "agent_id")


def collect_agents(documents: Iterable[Document]) -> set[str]:
    """Return the IDs of the agents to which conversations refer."""
    named = (first_at(document, AGENT_FIELDS)[0] for document in documents)
    return {value.replace("\0", "") for value in named if type(value) is str and value}


AGENTS = Lookup("agents", collect_agents, carry=("provider", "model"), fields=AGENT_FIELDS)


def compute_agent(context: Context, camel: Any, snake: Any) -> tuple[Any, Any, Any]:
    """Return agent_id, and the provider and model of the agent if it exists."""
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


def compute_provider(context: Context, endpoint: Any, model: Any, agent_provider: str | None) -> str:
    """Return the provider: by endpoint; for agents that of the agent; otherwise by the name of the model."""
    name = shared.read_endpoint(context, endpoint)
    if name is None or name == "agents":
        return agent_provider or shared.detect_provider(context, model)
    return shared.provider_of_endpoint(name)


def compute_model(context: Context, model: Any, agent_model: str | None) -> str:
    """Return the model; for agents that of the agent; otherwise `unknown`, with a finding."""
    plain = UNREADABLE if model is ABSENT or model is None else TEXT.read(model, context.note, "model")
    if isinstance(plain, str) and plain:
        return plain
    if agent_model is None:
        context.note("model_unknown", "model")
    return agent_model or "unknown"


def restore_endpoint(provider: str, agent_id: str | None) -> Any:
    """Return `agents` if there is an agent, otherwise the usual endpoint of the provider."""
    return "agents" if agent_id is not None else shared.endpoint_of_provider(provider)


def restore_model(model: str, agent_id: str | None) -> Any:
    """Return the model. A conversation with an agent has none."""
    return ABSENT if agent_id is not None or model == "unknown" else model


def return_endpoint(document: Document, row: Row) -> None:
    """Set endpoint and model themselves, also for a conversation with an agent."""
    document["endpoint"] = shared.spelling_of_provider(row["provider"])
    document["model"] = row["model"]


# (provider, agent) → field name. LibreChat names two parameters as the provider does; with an agent, as OpenAI does.
TOP_P = {("anthropic", None): "topP", ("google", None): "topP", ("bedrock", None): "topP"}
MAX_TOKENS = {
    ("anthropic", None): "maxOutputTokens",
    ("google", None): "maxOutputTokens",
    ("bedrock", None): "maxTokens",
}


def reference_owner(document: Document) -> tuple[Hashable, ...]:
    """Return the owner of a conversation: its user in the source. A conversationId is unique per user only."""
    return (shared.source_user(document),)


def owner_key(document: Document, row: Row) -> tuple[Hashable, ...]:
    """Return the owner of a conversation: see `reference_owner`."""
    return reference_owner(document)


mapping = Collection(
    name="conversations",
    table=conversations,
    key=shared.CONVERSATIONS,
    owner=owner_key,
    reference_owner=reference_owner,
    rules=(
        shared.temporary("expiredAt"),
        shared.owner("user", as_text=True),
        map_field("title", "title", TEXT),
        Compute(
            columns=("agent_id", "agent.provider", "agent.model"),
            fields=AGENT_FIELDS,
            function=compute_agent,
            restores="agent_id",
            reverse=lambda agent_id: ABSENT if agent_id is None else agent_id,
            reverse_inputs=("agent_id",),
            lookups=(AGENTS,),
        ),
        Compute(
            columns=("provider",),
            fields=("endpoint", "model"),
            inputs=("agent.provider",),
            function=compute_provider,
            restores="endpoint",
            reverse=restore_endpoint,
            reverse_inputs=("provider", "agent_id"),
        ),
        Compute(
            columns=("model",),
            fields=("model",),
            inputs=("agent.model",),
            function=compute_model,
            restores="model",
            reverse=restore_model,
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
    returns=(Return(("provider", "model", "agent_id"), return_endpoint),),
)
