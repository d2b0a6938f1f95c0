"""This migration: a LibreChat-derived application. One module a collection, listed here; the engine finds the order."""

from __future__ import annotations

from mappings import agents, chunks, conversations, files, lms, memories, messages, recordings, transactions, users
from migrator.mapping.collection import VectorColumn

MAPPINGS = (
    users.mapping,
    files.mapping,
    agents.mapping,
    conversations.mapping,
    messages.mapping,
    memories.mapping,
    transactions.mapping,
    lms.courses,
    lms.modules,
    chunks.mapping,
)

# Documents without a row of their own, which fill what rows of another collection lack.
MERGES = (recordings.mapping,)

# Where `policies.orphan_owner` looks for its e-mail: (collection, column).
ADOPTER = ("users", "email")

# Which rows want an embedding of their text.
EMBEDDED = VectorColumn(collection=chunks.NAME, table=chunks.mapping.table, text="content", vector="embedding")
