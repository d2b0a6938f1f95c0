"""Against networks that stall without a word: whoever waits long for an answer asks the server, on another connection,
whether it is at work on it at all. If not, the waiting connection is cut, which is an error like any lost connection.

TCP notices some stalls by itself (server.py sets its timeouts), but none where a proxy, a tunnel or a load balancer
goes on answering for what is behind it. A statement may take hours (an index), so no time limit can tell.
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
POLL = 5.0  # seconds
LONG = 60.0  # seconds of one wait after which the server is asked
ANSWERS = 20.0  # seconds in which it answers that
STILL = 30.0  # seconds in which something changes, where we wait for the server and the server for us

# What is going on there: not all columns are for everybody to see, but those of one's own role are.
_SESSION = """
    SELECT a.state, a.wait_event, a.state_change::text, c.bytes_processed
      FROM pg_stat_activity a LEFT JOIN pg_stat_progress_copy c USING (pid) WHERE a.pid = %s
"""
Probe = tuple[Any, ...] | None


@dataclass
class Watched:
    """A connection, how to ask about it, since when it waits, and the latest answer with its moment."""

    connection: weakref.ref[Connection]
    dsn: str
    since: float | None = None
    answer: Probe = None
    answered: float = 0.0


class Watchdog:
    """Watches the connections of this process, from a thread that starts with the first of them."""

    def __init__(self) -> None:
        self._watched: list[Watched] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, connection: Connection, dsn: str) -> None:
        """From now on, until it is closed. Connections over a socket of this machine need no watching."""
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
                if connection is not None and look_after(each, connection, time.monotonic()):
                    cut(connection)


def is_open(connection: Connection | None) -> bool:
    return connection is not None and not connection.closed


def look_after(watched: Watched, connection: Connection, now: float) -> bool:
    """Whether a connection waits for what will not come."""
    if connection.pgconn.transaction_status != TransactionStatus.ACTIVE or is_readable(connection):
        watched.since = None
        return False
    watched.since = watched.since or now
    if now - watched.since < LONG:
        return False
    try:
        answer = ask(watched.dsn, connection.info.backend_pid)
    except TimeoutError:
        return True
    except psycopg.Error:
        return False  # what is wrong with the server, the connection itself will find out
    if answer is None:
        return True  # the session has ended, and that was not heard here
    if answer != watched.answer:
        watched.answer, watched.answered = answer, now
    return waits_for_us(answer) and now - watched.answered >= STILL


def waits_for_us(answer: tuple[Any, ...]) -> bool:
    """Whether the server has nothing to do: it waits for a statement, or for the data of one."""
    state, event, *_ = answer
    return state in ("idle", "idle in transaction", "idle in transaction (aborted)") or (
        state == "active" and event == "ClientRead"
    )


def ask(dsn: str, pid: int) -> Probe:
    """What the server says about a session; None where there is none. Raises `TimeoutError`, psycopg's errors."""
    found: list[Probe | psycopg.Error] = []

    def go() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True, application_name="migrate watchdog") as connection:
                found.append(connection.execute(_SESSION, (pid,)).fetchone())
        except psycopg.errors.ConnectionTimeout:
            pass
        except psycopg.Error as error:
            found.append(error)

    thread = threading.Thread(target=go, name="watchdog query", daemon=True)
    thread.start()
    thread.join(ANSWERS)
    if not found:
        raise TimeoutError
    if isinstance(found[0], psycopg.Error):
        raise found[0]
    return found[0]


def is_readable(connection: Connection) -> bool:
    """Whether something has come that we have not read yet: then we are the ones who are busy."""
    with suppress(OSError, ValueError, psycopg.Error):
        return bool(select.select([connection.pgconn.socket], [], [], 0)[0])
    return True


def cut(connection: Connection) -> None:
    """Whoever waits there gets an error."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as end:
        end.shutdown(socket.SHUT_RDWR)


WATCHDOG = Watchdog()
