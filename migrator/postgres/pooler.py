"""Detects connection poolers in transaction mode.

migrate needs sessions: an advisory lock, settings and temporary tables belong to a session. A pooler in transaction
mode (PgBouncer, Supavisor, RDS Proxy without pinning) can give each transaction another server connection.
"""

from __future__ import annotations

from typing import Any

import psycopg

from migrator.errors import TargetError

Connection = psycopg.Connection[Any]
ROUNDS = 3


def is_transaction_pooled(one: Connection, other: Connection) -> bool:
    """Return whether two open connections share server connections, by the PIDs of their backends.

    Two sessions have two backends, and each keeps its backend. Both must be outside a transaction.
    """
    found: list[tuple[int, int]] = []
    for _ in range(ROUNDS):
        pair = (_backend(one), _backend(other))
        if pair[0] == pair[1]:
            return True
        found.append(pair)
    return len(set(found)) > 1


def refuse_transaction_pooling(one: Connection, other: Connection, label: str) -> None:
    """Check that both connections are sessions.

    Raises:
        TargetError: the server is a pooler in transaction mode.
    """
    if is_transaction_pooled(one, other):
        raise TargetError(
            f"{label} is a connection pooler in transaction mode, which has no sessions",
            hint="Connect to the server directly, or to the pooler in session mode (PgBouncer: pool_mode = session;"
            " Supabase: port 5432).",
        )


def _backend(connection: Connection) -> int:
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    assert row is not None  # a SELECT of one value returns one row
    return int(row[0])
