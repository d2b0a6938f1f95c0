"""One migration at a time: an advisory lock in the target, and who holds it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from migrator.errors import LockedError

Connection = psycopg.Connection[Any]
KEY = int.from_bytes(b"migrate", "big") % 2**31  # any fixed number; pg_locks shows it as objid


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lock: the process as it named itself, its session, since when."""

    name: str
    session: int
    user: str
    address: str
    since: str

    def __str__(self) -> str:
        return f"{self.name}, session {self.session} of {self.user} from {self.address}, since {self.since}"


@contextmanager
def exclusive(connection: Connection) -> Iterator[None]:
    """Holds the lock within the block; the server gives it back when the connection ends, however that happens.

    Errors: `LockedError` that names the process which has it.
    """
    found = connection.execute("SELECT pg_try_advisory_lock(%s)", (KEY,)).fetchone()
    if not (found and found[0]):
        raise LockedError(
            f"another migrate is at work on this target: {find_holder(connection) or 'it has just ended'}",
            hint="Wait until it has finished (`migrate status` shows how far it is), then run the same command again.",
        )
    connection.execute("SELECT set_config('application_name', %s, false)", (own_name(),))
    try:
        yield
    finally:
        # Stopped in the middle of a statement, the connection can only be closed; the lock goes with it.
        if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            connection.execute("SELECT pg_advisory_unlock(%s)", (KEY,))


def own_name() -> str:
    """How this process is known on the server: PostgreSQL keeps 63 ASCII characters."""
    host = platform.node().encode("ascii", "replace").decode()[:30]
    return f"migrate (process {os.getpid()} on {host})"


def find_holder(connection: Connection) -> Holder | None:
    """Who holds the lock on this database, if anybody does."""
    query = (
        "SELECT coalesce(a.application_name, 'somebody'), l.pid, coalesce(a.usename, '?'),"
        " coalesce(host(a.client_addr), 'this machine'), coalesce(a.backend_start::timestamptz(0)::text, '?')"
        " FROM pg_locks l JOIN pg_database d ON d.oid = l.database LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.objid = %s AND l.granted AND d.datname = current_database()"
    )
    found = connection.execute(query, (KEY,)).fetchone()
    return None if found is None else Holder(*found)
