"""This migration's target: SQLAlchemy tables by domain, collected in one `metadata`.

The result is `target-schema.sql`, exactly; a test compares both by pg_catalog. How the tables are built, and in which
order, is the engine's business (`migrator.ddl`), and so is row-level security.
"""

from __future__ import annotations

from schema import chat, lms, payments, rag, tenants, users
from schema.base import metadata

__all__ = ["chat", "lms", "metadata", "payments", "rag", "tenants", "users"]
