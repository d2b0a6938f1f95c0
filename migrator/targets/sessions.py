"""Keeps closed sessions of a target for a moment, because a command opens several, one after the other.

A session that is closed outside a transaction is reset as poolers do it (DISCARD ALL): settings, locks, temporary
tables and prepared statements are gone, and the caches of the server process stay. The next user gets the session in a
new connection object. The closed object stays closed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import pq
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus

KEPT = 2  # sessions of a target; others are closed
FRESH = 5.0  # seconds: a network can drop a connection that is idle for long without telling
Keep = Callable[[pq.abc.PGconn], bool]


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that offers its session to `keep` when it is closed."""

    keep: Keep | None = None

    def close(self) -> None:
        keep, self.keep = self.keep, None
        if keep is None or self.closed or not self._is_reset():
            super().close()
            return
        session, self.pgconn = self.pgconn, _closed_session()
        super().close()
        if not keep(session):
            session.finish()

    def _is_reset(self) -> bool:
        """Reset the session, and return whether that was possible."""
        idle = (TransactionStatus.IDLE, PipelineStatus.OFF)
        if (self.pgconn.transaction_status, self.pgconn.pipeline_status) != idle:
            return False
        try:
            self.autocommit = True
            self.execute("DISCARD ALL")
        except psycopg.Error:
            return False
        except BaseException:
            super().close()
            raise
        return True


def _closed_session() -> pq.abc.PGconn:
    session = pq.PGconn.connect_start(b"")
    session.finish()
    return session


class KeptSessions:
    """The sessions of one target that were closed a moment ago."""

    def __init__(self) -> None:
        self._kept: list[tuple[pq.abc.PGconn, float]] = []
        self._lock = threading.Lock()
        self._is_open = True

    def offer(self, connection: Session) -> None:
        """Keep the session of this connection when it is closed."""
        connection.keep = self._keep

    def take(self) -> Session | None:
        """Return a connection with the session that was closed last, if there is one."""
        with self._lock:
            session, closed = self._kept.pop() if self._kept else (None, 0.0)
        if session is None:
            return None
        if session.status != ConnStatus.OK or time.monotonic() - closed > FRESH:
            session.finish()
            return None
        connection = Session(session)
        connection.autocommit = True
        return connection

    def close(self) -> None:
        """End the kept sessions, and keep no further ones."""
        with self._lock:
            self._is_open, ended, self._kept = False, self._kept, []
        for session, _ in ended:
            session.finish()

    def _keep(self, session: pq.abc.PGconn) -> bool:
        with self._lock:
            if not self._is_open or len(self._kept) >= KEPT:
                return False
            self._kept.append((session, time.monotonic()))
            return True
