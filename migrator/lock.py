"""One migration at a time: an advisory lock in the target, and who holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from migrator.errors import LockedError

Connection = psycopg.Connection[Any]
KEY = int.from_bytes(b"migrate", "big") % 2**31  # any fixed number; pg_locks shows it as objid


@contextmanager
def exclusive(connection: Connection) -> Iterator[None]:
    """Holds the lock within the block; the server gives it back when the connection ends, however that happens.

    Errors: `LockedError` that names the session which has it.
    """
    found = connection.execute("SELECT pg_try_advisory_lock(%s)", (KEY,)).fetchone()
    if not (found and found[0]):
        raise LockedError(
            f"another migrate is at work on this target: {_holder(connection)}",
            hint="Wait until it has finished (`migrate status` shows how far it is), then run the same command again.",
        )
    try:
        yield
    finally:
        # Stopped in the middle of a statement, the connection can only be closed; the lock goes with it.
        if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            connection.execute("SELECT pg_advisory_unlock(%s)", (KEY,))


def _holder(connection: Connection) -> str:
    query = (
        "SELECT a.pid, a.usename, coalesce(host(a.client_addr), 'this machine'), a.backend_start::timestamptz(0)"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.objid = %s AND l.granted"
    )
    found = connection.execute(query, (KEY,)).fetchone()
    if found is None:
        return "it has just ended"
    return "session {} of {} from {}, since {}".format(*found)
