"""One migration at a time: an advisory lock in the target, and who holds it."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from migrator.errors import LockedError
from migrator.targets.server import WORKER

Connection = psycopg.Connection[Any]
ENDS = 100  # times a tenth of a second in which a session that is told to end does
_TOKEN = secrets.token_hex(2)
KEY = int.from_bytes(b"migrate", "big") % 2**31  # any fixed number; pg_locks shows it as objid


@dataclass(frozen=True, slots=True)
class LockHolder:
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
    if not try_lock(connection) and not (terminate_stale_holder(connection) and try_lock(connection)):
        raise LockedError(
            f"another migrate is at work on this target: {find_holder(connection) or 'it has just ended'}",
            hint="Wait until it has finished (`migrate status` shows how far it is), then run the same command again.",
        )
    connection.execute("SELECT set_config('application_name', %s, false)", (own_name(),))
    terminate_orphaned_workers(connection)
    try:
        yield
    finally:
        # Stopped in the middle of a statement, the connection can only be closed; the lock goes with it.
        if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            connection.execute("SELECT pg_advisory_unlock(%s)", (KEY,))


def try_lock(connection: Connection) -> bool:
    found = connection.execute("SELECT pg_try_advisory_lock(%s)", (KEY,)).fetchone()
    return bool(found and found[0])


def terminate_stale_holder(connection: Connection) -> bool:
    """Ends the session that has the lock if it is one that this very process has lost; whether it is gone.

    Where a network has stalled the server does not know that nobody is there any more.
    """
    holder = find_holder(connection)
    if holder is None:
        return True
    if holder.name != own_name() or holder.session == connection.info.backend_pid:
        return False
    return _end(connection, "a.pid = %s", (holder.session,))


def terminate_orphaned_workers(connection: Connection) -> None:
    """Ends sessions of workers whose run is gone: whoever has the lock has just begun, so none of them is its own.

    They could not commit any more, but their locks would be waited for.
    """
    _end(connection, "a.application_name = %s", (WORKER,))


def _end(connection: Connection, condition: LiteralString, values: tuple[object, ...]) -> bool:
    """Ends sessions of this role in this database; whether all are gone in the end."""
    query = sql.SQL(
        "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a"
        " WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid() AND {}"
    ).format(sql.SQL(condition))
    for _ in range(ENDS):
        found = connection.execute(query, values).fetchone()
        if found is None or found[0] == 0:
            return True
        time.sleep(0.1)
    return False


def own_name() -> str:
    """How this process is known on the server: PostgreSQL keeps 63 ASCII characters.

    With a token, for in two containers a process may have the same number, and the host the same name.
    """
    host = platform.node().encode("ascii", "replace").decode()[:25]
    return f"migrate (process {os.getpid()} on {host}, {_TOKEN})"


def find_holder(connection: Connection) -> LockHolder | None:
    """Who holds the lock on this database, if anybody does."""
    query = (
        "SELECT coalesce(a.application_name, 'somebody'), l.pid, coalesce(a.usename, '?'),"
        " coalesce(host(a.client_addr), 'this machine'), coalesce(a.backend_start::timestamptz(0)::text, '?')"
        " FROM pg_locks l JOIN pg_database d ON d.oid = l.database LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.objid = %s AND l.granted AND d.datname = current_database()"
    )
    found = connection.execute(query, (KEY,)).fetchone()
    return None if found is None else LockHolder(*found)
