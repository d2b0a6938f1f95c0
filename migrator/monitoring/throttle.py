"""Holding back: the shared pace of `engine.max_rows_per_second`, and when replicas or the source have too much to do.

Workers ask before they go on (`Throttle`); who measures is the coordinating process (`LagMeter`, called by the
monitor). They meet in the record `activity`, so it is one brake for all workers, wherever they are.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import psycopg

from migrator.config.models import EngineConfig
from migrator.state import activity
from migrator.state.records import Namespace

Connection = psycopg.Connection[Any]
THROTTLE = "throttle"
POLL = 0.5  # seconds
REMEMBERED = 3600  # positions of the log, one a second


class Throttle:
    """What a worker does around a batch."""

    def __init__(self, connection: Connection, namespace: Namespace, engine: EngineConfig) -> None:
        self._connection, self._namespace = connection, namespace
        self._most = engine.max_rows_per_second
        self._limited = bool(engine.max_replication_lag_seconds or engine.max_source_latency_ms)

    def hold(self) -> None:
        """Before a batch is written: waits while there is a reason to hold back."""
        while self._limited and activity.read_waiting(self._connection, self._namespace, THROTTLE):
            time.sleep(POLL)

    def keep_pace(self, documents: int) -> None:
        """After so many documents were written: waits until they may have been."""
        if self._most:
            time.sleep(max(0.0, activity.reserve_slot(self._connection, self._namespace, documents, self._most)))


class LagMeter:
    """Measures what `engine` limits. `latency` asks the source something small: the seconds it took."""

    def __init__(self, engine: EngineConfig, latency: Callable[[], float] | None) -> None:
        self._lag_limit = engine.max_replication_lag_seconds
        self._latency_limit = engine.max_source_latency_ms / 1000
        self._latency = latency
        self._log: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        self._held = False
        self.blind = ""  # why replication cannot be measured

    @property
    def needed(self) -> bool:
        return bool(self._lag_limit or (self._latency_limit and self._latency))

    def reason(self, connection: Connection) -> str | None:
        """Why to hold back now. Once held, it goes on at half of a limit, so that it does not come and go."""
        share = 0.5 if self._held else 1.0
        found = self._replication(connection, share) or self._source(share)
        self._held = found is not None
        return found

    def _replication(self, connection: Connection, share: float) -> str | None:
        if not self._lag_limit or self.blind:
            return None
        worst, name = max(self._lags(connection), default=(0.0, ""))
        if worst <= self._lag_limit * share:
            return None
        return f"replica {name} is {worst:.0f} s behind (engine.max_replication_lag_seconds = {self._lag_limit})"

    def _lags(self, connection: Connection) -> list[tuple[float, str]]:
        """How far each replica is behind: the age of the oldest position of the log that it has not confirmed.

        The server's own `replay_lag` stands still when a replica does; it is better at what happened before we looked.
        """
        here = connection.execute("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").fetchone()
        now = time.monotonic()
        assert here is not None  # a SELECT without FROM always answers
        self._log.append((now, here[0]))
        query = (
            "SELECT coalesce(nullif(application_name, ''), 'of process ' || pid), state,"
            " (coalesce(replay_lsn, flush_lsn, write_lsn) - '0/0'::pg_lsn)::bigint,"
            " coalesce(extract(epoch FROM replay_lag), 0)::float8"
            " FROM pg_stat_replication"
        )
        lags = []
        for name, state, confirmed, told in connection.execute(query).fetchall():
            if state is None:
                self.blind = "this role may not see how far replicas are behind: GRANT pg_monitor to it"
            if state in ("streaming", "catchup") and confirmed is not None:
                since = next((moment for moment, position in self._log if position > confirmed), now)
                lags.append((max(now - since, told if confirmed < here[0] else 0.0), name))
        return lags

    def _source(self, share: float) -> str | None:
        if not self._latency_limit or self._latency is None:
            return None
        took = self._latency()
        if took <= self._latency_limit * share:
            return None
        limit = round(self._latency_limit * 1000)
        return f"the source takes {took * 1000:.0f} ms to answer (engine.max_source_latency_ms = {limit})"
