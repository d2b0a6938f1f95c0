"""This migration: a LibreChat-derived application. One module a collection, listed here; the engine finds the order."""

from __future__ import annotations

from mappings import agents, conversations, files, lms, memories, messages, transactions, users

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
)

# Where `policies.orphan_owner` looks for its e-mail: (collection, column).
ADOPTER = ("users", "email")
