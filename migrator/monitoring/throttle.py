"""Throttling: the shared rate limit of `engine.max_rows_per_second`, and pauses while replicas or the source are slow.

The workers wait (`Throttle`); the coordinating process measures (`LagMeter`, called by the monitor). They communicate
through the table `heartbeats`, so that one decision applies to all workers, on any machine.
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
POLL_INTERVAL = 0.5  # seconds
MAX_POSITIONS = 3600  # remembered WAL positions, one per second
RESUME_FACTOR = 0.5  # of a limit, at which throttling ends


class Throttle:
    """Makes a worker wait before and after a batch."""

    def __init__(self, connection: Connection, namespace: Namespace, engine: EngineConfig) -> None:
        self._connection, self._namespace = connection, namespace
        self._rate_limit = engine.max_rows_per_second
        self._limited = bool(engine.max_replication_lag_seconds or engine.max_source_latency_ms)

    def wait_while_throttled(self) -> None:
        """Wait before a batch while there is a reason to throttle."""
        while self._limited and activity.read_waiting(self._connection, self._namespace, THROTTLE):
            time.sleep(POLL_INTERVAL)

    def limit_rate(self, documents: int) -> None:
        """Wait after a batch of this many documents until the rate limit permits the next one."""
        if self._rate_limit:
            seconds = activity.reserve_slot(self._connection, self._namespace, documents, self._rate_limit)
            time.sleep(max(0.0, seconds))


class LagMeter:
    """Measures the replication lag and the source latency that the engine settings limit.

    `latency` sends a small request to the source and returns the seconds until the answer. `lag_unavailable`: why the
    replication lag cannot be measured, or an empty string.
    """

    def __init__(self, engine: EngineConfig, latency: Callable[[], float] | None) -> None:
        self._lag_limit = engine.max_replication_lag_seconds
        self._latency_limit = engine.max_source_latency_ms / 1000
        self._latency = latency
        self._positions: deque[tuple[float, int]] = deque(maxlen=MAX_POSITIONS)
        self._throttled = False
        self.lag_unavailable = ""

    @property
    def is_needed(self) -> bool:
        """Return whether any limit is set."""
        return bool(self._lag_limit or (self._latency_limit and self._latency))

    def throttle_reason(self, connection: Connection) -> str | None:
        """Return why the workers must be throttled now, or None.

        Throttling starts at a limit and ends at half of it, so that it does not start and stop all the time.
        """
        factor = RESUME_FACTOR if self._throttled else 1.0
        reason = self._check_lag(connection, factor) or self._check_latency(factor)
        self._throttled = reason is not None
        return reason

    def _check_lag(self, connection: Connection, factor: float) -> str | None:
        if not self._lag_limit or self.lag_unavailable:
            return None
        lag, name = max(self._read_lags(connection), default=(0.0, ""))
        if lag <= self._lag_limit * factor:
            return None
        return f"replica {name} is {lag:.0f} s behind (engine.max_replication_lag_seconds = {self._lag_limit})"

    def _read_lags(self, connection: Connection) -> list[tuple[float, str]]:
        """Return (seconds, name) of each replica: the age of the oldest WAL position that it has not confirmed.

        The server's own `replay_lag` does not grow while a replica is stopped. It is used only for the time before the
        first measurement.
        """
        here = connection.execute("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").fetchone()
        now = time.monotonic()
        assert here is not None  # a SELECT without FROM returns a row
        self._positions.append((now, here[0]))
        query = (
            "SELECT coalesce(nullif(application_name, ''), 'of process ' || pid::text), state,"
            " (coalesce(replay_lsn, flush_lsn, write_lsn) - '0/0'::pg_lsn)::bigint,"
            " coalesce(extract(epoch FROM replay_lag), 0)::float8"
            " FROM pg_stat_replication"
        )
        lags = []
        for name, state, confirmed, replay_lag in connection.execute(query).fetchall():
            if state is None:
                self.lag_unavailable = "cannot read the replication lag: GRANT pg_monitor to this role"
            if state in ("streaming", "catchup") and confirmed is not None:
                since = next((moment for moment, position in self._positions if position > confirmed), now)
                lags.append((max(now - since, replay_lag if confirmed < here[0] else 0.0), name))
        return lags

    def _check_latency(self, factor: float) -> str | None:
        if not self._latency_limit or self._latency is None:
            return None
        latency = self._latency()
        if latency <= self._latency_limit * factor:
            return None
        limit = round(self._latency_limit * 1000)
        return f"source latency is {latency * 1000:.0f} ms (engine.max_source_latency_ms = {limit})"
