"""The migration of a LibreChat application: one module per collection.

The engine derives the order of loading from the references between collections.
"""

from __future__ import annotations

from mappings import (
    agents,
    chunks,
    codes,
    conversations,
    files,
    lms,
    memories,
    messages,
    recordings,
    transactions,
    users,
)
from mappings.settings import Settings
from mappings.transactions import find_blockers
from migrator.mapping.adopter import Adopter
from migrator.mapping.collection import VectorColumn

__all__ = ["ADOPTER", "EMBEDDED", "MAPPINGS", "MERGES", "Settings", "codes", "find_blockers"]

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

# Documents without a row of their own: they fill missing values of rows of another collection.
MERGES = (recordings.mapping,)

# The owner of documents whose own one does not exist.
ADOPTER = Adopter(collection="users", column="email", setting="policies.orphan_owner")

# The rows that get an embedding of their text.
EMBEDDED = VectorColumn(collection=chunks.NAME, table=chunks.mapping.table, text="content", vector="embedding")
