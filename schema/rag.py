"""Tables of files, and of chunks of their text with embeddings."""

from __future__ import annotations

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, false
from sqlalchemy.dialects.postgresql import JSONB

from schema.base import created_at, metadata, owner, tenant, updated_at, uuid_key

files = Table(
    "files",
    metadata,
    uuid_key(),
    tenant(),
    owner("user_id", "users.id"),
    Column("filename", Text, nullable=False),
    Column("original_name", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("storage_provider", Text, nullable=False),
    Column("storage_key", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("embedded", Boolean, server_default=false()),
    Column("vector_store_id", Text),
    Column("metadata", JSONB),
    created_at(),
    updated_at(),
    Index("files_user_id_idx", "user_id"),
    Index("files_tenant_id_idx", "tenant_id"),
)

document_chunks = Table(
    "document_chunks",
    metadata,
    uuid_key(),
    owner("file_id", "files.id"),
    tenant(),
    Column("content", Text, nullable=False),
    Column("embedding", VECTOR(1536)),
    Column("metadata", JSONB),
    created_at(),
    Index(
        "document_chunks_embedding_idx",
        "embedding",
        postgresql_using="ivfflat",
        # The application searches with <=>; the default operator class supports <-> only.
        # Without WITH (lists), because drizzle-kit reports any WITH as a change.
        postgresql_ops={"embedding": "vector_cosine_ops"},
    ),
    Index("document_chunks_tenant_id_idx", "tenant_id"),
)
