"""Tables of the chat: agents, conversations and messages."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text, false, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from schema.base import created_at, metadata, owner, role, tenant, text_key, tier_column, updated_at, uuid_key

agents = Table(
    "agents",
    metadata,
    text_key(),
    tenant(),
    Column("created_by", UUID, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("instructions", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("tools", JSONB, server_default=text("'[]'::jsonb")),
    Column("tool_resources", JSONB),
    Column("parameters", JSONB),
    Column("icon", Text),
    tier_column(),
    Column("published", Boolean, server_default=false()),
    Column("version", Integer, server_default=text("1")),
    created_at(),
    updated_at(),
    Index("agents_tenant_id_idx", "tenant_id"),
    Index("agents_created_by_idx", "created_by"),
)

conversations = Table(
    "conversations",
    metadata,
    uuid_key(),
    tenant(),
    owner("user_id", "users.id"),
    Column("title", Text),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("agent_id", Text),  # no foreign key: an agent can be deleted, its conversations stay
    Column("parameters", JSONB),
    Column("archived", Boolean, server_default=false()),
    created_at(),
    updated_at(),
    Column("last_message_at", TIMESTAMP),
    Index("conversations_user_id_idx", "user_id"),
    Index("conversations_tenant_id_idx", "tenant_id"),
    Index("conversations_agent_id_idx", "agent_id"),
)

messages = Table(
    "messages",
    metadata,
    uuid_key(),
    owner("conversation_id", "conversations.id"),
    tenant(),
    Column("content", Text, nullable=False),
    Column("role", role, nullable=False),
    Column("parent_id", UUID, ForeignKey("messages.id")),
    Column("model", Text),
    Column("provider", Text),
    Column("finish_reason", Text),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("error", Boolean, server_default=false()),
    Column("error_message", Text),
    created_at(),
    updated_at(),
    Index("messages_conversation_id_idx", "conversation_id"),
    Index("messages_parent_id_idx", "parent_id"),
    Index("messages_search_idx", text("to_tsvector('english', content)"), postgresql_using="gin"),
)
