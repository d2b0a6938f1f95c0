"""The tables of the target, as SQLAlchemy tables in one `metadata`: one module per domain.

They equal `target-schema.sql`; a test compares both by pg_catalog. Not here: the order of creation and row-level
security, which the engine derives (`migrator.postgres.ddl`).
"""

from __future__ import annotations

from schema import chat, lms, payments, rag, tenants, users
from schema.base import metadata

__all__ = ["chat", "lms", "metadata", "payments", "rag", "tenants", "users"]
