"""The lock that admits one migrate process per target: an advisory lock of PostgreSQL."""

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
from migrator.postgres.errors import is_idle
from migrator.targets.server import WORKER

Connection = psycopg.Connection[Any]
END_CHECKS = 100  # checks, 0.1 s apart, until a terminated session must have ended
_TOKEN = secrets.token_hex(2)
KEY = int.from_bytes(b"migrate", "big") % 2**31  # a fixed number; pg_locks shows it as objid


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds the lock: its application_name, its session (backend PID), the start of the session."""

    name: str
    session: int
    user: str
    address: str
    since: str

    def __str__(self) -> str:
        return f"{self.name}, session {self.session} of {self.user} from {self.address}, since {self.since}"


@contextmanager
def exclusive(connection: Connection) -> Iterator[None]:
    """Hold the lock in the block. The server releases it when the connection ends for any reason.

    Raises:
        LockedError: another process holds the lock; the message names it.
    """
    if not try_lock(connection) and not (terminate_stale_holder(connection) and try_lock(connection)):
        raise LockedError(
            f"another migrate process is using this target: {find_holder(connection) or 'it has just ended'}",
            hint="Wait until it has finished (`migrate status` shows its progress), then run the same command again.",
        )
    connection.execute("SELECT set_config('application_name', %s, false)", (own_name(),))
    terminate_orphaned_workers(connection)
    try:
        yield
    finally:
        # If a statement was interrupted, the connection can only be closed, which releases the lock.
        if is_idle(connection):
            connection.execute("SELECT pg_advisory_unlock(%s)", (KEY,))


def try_lock(connection: Connection) -> bool:
    found = connection.execute("SELECT pg_try_advisory_lock(%s)", (KEY,)).fetchone()
    return bool(found and found[0])


def terminate_stale_holder(connection: Connection) -> bool:
    """End the session with the lock if it is a lost session of this process. Return whether the lock is free.

    After a stalled network, the server does not know that the client has disconnected.
    """
    holder = find_holder(connection)
    if holder is None:
        return True
    if holder.name != own_name() or holder.session == connection.info.backend_pid:
        return False
    return _end(connection, "a.pid = %s", (holder.session,))


def terminate_orphaned_workers(connection: Connection) -> None:
    """End the sessions of workers of an earlier process. The process with the lock has not started workers yet.

    These sessions cannot commit, but this process would wait for their locks.
    """
    _end(connection, "a.application_name = %s", (WORKER,))


def _end(connection: Connection, condition: LiteralString, values: tuple[object, ...]) -> bool:
    """End other sessions of this role in this database. Return whether all of them have ended."""
    query = sql.SQL(
        "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a"
        " WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid() AND {}"
    ).format(sql.SQL(condition))
    for _ in range(END_CHECKS):
        found = connection.execute(query, values).fetchone()
        if found is None or found[0] == 0:
            return True
        time.sleep(0.1)
    return False


def own_name() -> str:
    """Return the application_name of this process: PostgreSQL keeps 63 ASCII characters.

    The token distinguishes processes in containers with the same host name and process ID.
    """
    host = platform.node().encode("ascii", "replace").decode()[:25]
    return f"migrate (process {os.getpid()} on {host}, {_TOKEN})"


def find_holder(connection: Connection, key: int = KEY) -> LockHolder | None:
    """Return the process that holds the lock of this database; None if the lock is free."""
    query = (
        "SELECT coalesce(a.application_name, 'unknown'), l.pid, coalesce(a.usename, '?'),"
        " coalesce(host(a.client_addr), 'this machine'), coalesce(a.backend_start::timestamptz(0)::text, '?')"
        " FROM pg_locks l JOIN pg_database d ON d.oid = l.database LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.objid = %s AND l.granted AND d.datname = current_database()"
    )
    found = connection.execute(query, (key,)).fetchone()
    return None if found is None else LockHolder(*found)
