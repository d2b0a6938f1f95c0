"""How far the target is behind a live source: lags, dirty keys, rates, time to catch up, and the history that is left.

Not here: the text file for Prometheus (prometheus.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from migrator.state import activity
from migrator.state.records import Connection, Namespace

RECEIVER = "receiver"  # the name of its heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncStatus:
    """One reading. Lags and times in seconds.

    `receive_lag`: since the time up to which all events were received. `apply_lag`: since the oldest event that is not
    applied was received; 0 if all are. `window_left`: how long the receiver may still be away before the source deletes
    events that it needs; None if the source does not tell. `dirty`: documents to apply; `marked`: collections to
    compare. `receiver_waiting`: the reason; None while it works. `receiver_age`: since its last heartbeat.
    """

    at: datetime
    state: str
    received: int
    applied: int
    dirty: int
    marked: int
    receive_lag: float | None
    apply_lag: float
    window_left: float | None
    receiver_waiting: str | None
    receiver_age: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRates:
    """Events and documents per second between two readings.

    `seconds_left`: until all documents are applied at these rates; None if the source changes faster than that.
    """

    received: float
    applied: float
    seconds_left: float | None


def read_sync_status(connection: Connection, namespace: Namespace, oldest: int | None = None) -> SyncStatus | None:
    """Return the present status; None if no source is followed.

    `oldest`: the time of the oldest event that the source still has, in seconds since 1970 (`oldest_time` of
    sources/change_stream.py).
    """
    query = namespace.sql(
        "SELECT clock_timestamp(), state, received, applied, d.dirty, d.marked,"
        " extract(epoch FROM clock_timestamp() - cluster_time)::float8,"
        " coalesce(extract(epoch FROM clock_timestamp() - d.first), 0)::float8,"
        " extract(epoch FROM cluster_time)::float8"
        " FROM {sync}, (SELECT count(*) FILTER (WHERE source_id <> '') AS dirty,"
        "  count(*) FILTER (WHERE source_id = '') AS marked, min(first) AS first FROM {dirty}) d"
    )
    found = connection.execute(query).fetchone()
    if found is None:
        return None
    at, state, received, applied, dirty, marked, receive_lag, apply_lag, time = found
    heartbeat = next((each for each in activity.read(connection, namespace) if each.name == RECEIVER), None)
    return SyncStatus(
        at=at,
        state=state,
        received=received,
        applied=applied,
        dirty=dirty,
        marked=marked,
        receive_lag=None if receive_lag is None else max(0.0, receive_lag),
        apply_lag=max(0.0, apply_lag),
        window_left=None if oldest is None or time is None else max(0.0, time - oldest),
        receiver_waiting=heartbeat.waiting if heartbeat is not None else None,
        receiver_age=heartbeat.age if heartbeat is not None else None,
    )


def measure_rates(earlier: SyncStatus, later: SyncStatus) -> SyncRates:
    """Return the rates between two readings of the same target."""
    seconds = max((later.at - earlier.at).total_seconds(), 1e-3)
    applied = (later.applied - earlier.applied) / seconds
    # A document that changes again while it waits stays one dirty key, so the keys and not the events are compared.
    shrinking = (earlier.dirty - later.dirty) / seconds
    if later.dirty == 0:
        left: float | None = 0.0
    else:
        left = later.dirty / shrinking if shrinking > 0 else None
    return SyncRates(received=(later.received - earlier.received) / seconds, applied=applied, seconds_left=left)
