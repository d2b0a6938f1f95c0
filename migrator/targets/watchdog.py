"""Detects connections that wait for an answer that will not come, and shuts them down.

TCP notices some stalled networks by itself (`server.py` sets its timeouts), but not if a proxy, tunnel or load balancer
still answers for the server behind it. A timeout cannot decide, because a statement can take hours. So when a
connection has waited long, the watchdog asks the server over another connection whether the session is working. If it
is not, the watchdog shuts the waiting connection down, and its user gets the error of a lost connection.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

Connection = psycopg.Connection[Any]
POLL = 5.0  # seconds between two looks at all connections
LONG = 60.0  # seconds of one wait after which the server is asked
ANSWERS = 20.0  # seconds in which the server must answer
STILL = 30.0  # seconds without any change while client and server wait for each other

# A role may read these columns for sessions of the same role.
_SESSION = """
    SELECT a.state, a.wait_event, a.state_change::text, c.bytes_processed
      FROM pg_stat_activity a LEFT JOIN pg_stat_progress_copy c USING (pid) WHERE a.pid = %s
"""
Probe = tuple[Any, ...] | None


@dataclass
class Watched:
    """A connection, the start of its current wait, and the latest answer of the server about it with the time."""

    connection: weakref.ref[Connection]
    dsn: str
    since: float | None = None
    answer: Probe = None
    answered: float = 0.0


class Watchdog:
    """Watches the connections of this process in a thread that starts with the first connection."""

    def __init__(self) -> None:
        self._watched: list[Watched] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, connection: Connection, dsn: str) -> None:
        """Watch a connection until it is closed. Connections over a Unix socket need no watchdog."""
        if connection.info.host.startswith("/"):
            return
        with self._lock:
            self._watched.append(Watched(weakref.ref(connection), dsn))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(POLL)
            with self._lock:
                self._watched = [each for each in self._watched if is_open(each.connection())]
                watched = list(self._watched)
            for each in watched:
                connection = each.connection()
                if connection is not None and is_stalled(each, connection, time.monotonic()):
                    shut_down(connection)


def is_open(connection: Connection | None) -> bool:
    return connection is not None and not connection.closed


def is_stalled(watched: Watched, connection: Connection, now: float) -> bool:
    """Return whether a connection waits for an answer that will not come."""
    if connection.pgconn.transaction_status != TransactionStatus.ACTIVE or is_readable(connection):
        watched.since = None
        return False
    watched.since = watched.since or now
    if now - watched.since < LONG:
        return False
    try:
        answer = ask_server(watched.dsn, connection.info.backend_pid)
    except TimeoutError:
        return True
    except psycopg.Error:
        return False  # the connection itself will report the problem of the server
    if answer is None:
        return True  # the session has ended, but the connection was not notified
    if answer != watched.answer:
        watched.answer, watched.answered = answer, now
    return waits_for_client(answer) and now - watched.answered >= STILL


def waits_for_client(answer: tuple[Any, ...]) -> bool:
    """Return whether the server waits for a statement, or for the data of one."""
    state, event, *_ = answer
    return state in ("idle", "idle in transaction", "idle in transaction (aborted)") or (
        state == "active" and event == "ClientRead"
    )


def ask_server(dsn: str, pid: int) -> Probe:
    """Return what the server shows about a session; None if there is no such session.

    Raises:
        TimeoutError: no answer within `ANSWERS` seconds.
        psycopg.Error: the query failed.
    """
    found: list[Probe | psycopg.Error] = []

    def query() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True, application_name="migrate watchdog") as connection:
                found.append(connection.execute(_SESSION, (pid,)).fetchone())
        except psycopg.errors.ConnectionTimeout:
            pass
        except psycopg.Error as error:
            found.append(error)

    thread = threading.Thread(target=query, name="watchdog query", daemon=True)
    thread.start()
    thread.join(ANSWERS)
    if not found:
        raise TimeoutError
    if isinstance(found[0], psycopg.Error):
        raise found[0]
    return found[0]


def is_readable(connection: Connection) -> bool:
    """Return whether data has arrived that this process has not read yet: then the process is busy, not waiting."""
    with suppress(OSError, ValueError, psycopg.Error):
        return bool(select.select([connection.pgconn.socket], [], [], 0)[0])
    return True


def shut_down(connection: Connection) -> None:
    """Shut the socket down: the waiting thread gets an error."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as end:
        end.shutdown(socket.SHUT_RDWR)


WATCHDOG = Watchdog()
