"""The figures of following, and the text file of Prometheus."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bson
import psycopg
import pytest

from migrator.errors import UsageError
from migrator.monitoring.prometheus import format_metrics, write_metrics
from migrator.monitoring.sync_status import SyncStatus, measure_rates, read_sync_status
from migrator.sources.base import Position
from migrator.sources.change_events import INSERT, UPDATE, ChangeEvent
from migrator.sources.change_stream import EventBatch
from migrator.state import activity, sync
from migrator.state.records import Namespace, create_records

NAMESPACE = Namespace()
STATUS = SyncStatus(
    at=datetime(2026, 1, 1, tzinfo=UTC), state="following", received=10, applied=4, dirty=6, marked=0, receive_lag=0.5,
    apply_lag=2.0, window_left=None, receiver_waiting=None, receiver_age=1.0,
)  # fmt: skip


def batch_of(*events: ChangeEvent) -> EventBatch:
    return EventBatch(events=events, position=Position(token=bson.encode({"_data": "00"})))


def change(number: int, age: float, kind: str = UPDATE) -> ChangeEvent:
    seconds = int((datetime.now(UTC) - timedelta(seconds=age)).timestamp())
    return ChangeEvent(
        kind=kind, collection="a", source_id=bson.encode({"_id": number}), cluster_time=seconds << 32 | number
    )  # fmt: skip


def test_status(database: str) -> None:
    """Lags, counts and the window, from the records."""
    with psycopg.connect(database, autocommit=True) as connection:
        create_records(connection, NAMESPACE)
        assert read_sync_status(connection, NAMESPACE) is None
        sync.begin(connection, NAMESPACE, Position(token=bson.encode({"_data": "00"})))
        begun = read_sync_status(connection, NAMESPACE)
        assert begun is not None
        assert (begun.received, begun.dirty, begun.receive_lag, begun.receiver_age) == (0, 0, None, None)
        sync.store(connection, NAMESPACE, 0, batch_of(change(1, 60), change(2, 60, INSERT)))
        activity.write_waiting(connection, NAMESPACE, "worker", "receiver", "source: no response")
        oldest = int(datetime.now(UTC).timestamp()) - 3660
        behind = read_sync_status(connection, NAMESPACE, oldest)
        assert behind is not None
        assert (behind.received, behind.dirty, behind.receiver_waiting) == (2, 2, "source: no response")
        assert behind.receive_lag == pytest.approx(60, abs=5)
        assert behind.window_left == pytest.approx(3600, abs=5)
        assert 0 <= behind.apply_lag < 5
        sync.store(connection, NAMESPACE, 2, batch_of())
        idle = read_sync_status(connection, NAMESPACE)
        assert idle is not None
        assert idle.receive_lag is not None
        assert idle.receive_lag < 5


def test_time_of_a_token(database: str) -> None:
    """A token of MongoDB tells up to which time there are no more events."""
    with psycopg.connect(database, autocommit=True) as connection:
        create_records(connection, NAMESPACE)
        token = bson.encode({"_data": "826569B400000000012B0229296E04"})
        sync.begin(connection, NAMESPACE, Position(token=token))
        sync.store(connection, NAMESPACE, 0, EventBatch(events=(), position=Position(token=token)))
        found = sync.read(connection, NAMESPACE)
        assert found is not None
        assert found.cluster_time == datetime.fromtimestamp(0x6569B400, UTC)


def test_rates() -> None:
    later = replace(STATUS, at=STATUS.at + timedelta(seconds=2), received=30, applied=12, dirty=4)
    rates = measure_rates(STATUS, later)
    assert (rates.received, rates.applied, rates.seconds_left) == (10.0, 4.0, 4.0)
    assert measure_rates(STATUS, replace(later, dirty=0)).seconds_left == 0.0
    assert measure_rates(STATUS, replace(later, dirty=9)).seconds_left is None


def test_metrics(tmp_path: Path) -> None:
    """Each line has the format of Prometheus; what is unknown is left out; a file is replaced as a whole."""
    write_metrics(tmp_path / "migrate.prom", STATUS)
    write_metrics(tmp_path / "migrate.prom", replace(STATUS, received=11))
    text = (tmp_path / "migrate.prom").read_text()
    assert text == format_metrics(replace(STATUS, received=11))
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) migrate_\w+ .+|migrate_\w+ [\d.]+", line)
    assert "migrate_received_events_total 11\n" in text
    assert "migrate_apply_lag_seconds 2.000\n" in text
    assert "window" not in text
    assert [each.name for each in tmp_path.iterdir()] == ["migrate.prom"]
    with pytest.raises(UsageError, match="cannot write the metrics"):
        write_metrics(tmp_path / "nowhere" / "file", STATUS)
