"""Following a live SecantusDB: how fast changes are received, and how long it takes until one is visible.

The figures contain the load of SecantusDB and of the writer, which share the machine with what is measured.
"""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import bson
import psutil  # type: ignore[import-untyped]
import psycopg
from pymongo import MongoClient

from bench.cpu import spent
from bench.follow.changes import Application
from bench.processes import COMMAND
from bench.texts import Document
from migrator.following.receiver import ReceiverJob
from migrator.following.receiver_process import ReceiverProcess
from migrator.state.records import Namespace
from migrator.targets.embedded import EmbeddedTarget
from tests.changing import SAFE
from tests.mongo import Server, fill

DATABASE = "LibreChat"
BACKLOG, SIZE = 40_000, 500  # events that are received, and the bytes of their documents
RATE = 300  # writes per second
POLL = 0.01  # seconds between two looks for visible changes
_TEXT = "written as number"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFigures:
    """`received`: events per second; `receive_cpu`: microseconds of the receiver for each. `lags`: seconds, sorted."""

    received: float
    receive_cpu: float
    lags: list[float]
    memory: float

    def as_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return {
            "received_per_second": round(self.received, 1),
            "receive_microseconds": round(self.receive_cpu, 1),
            "lag_median": round(statistics.median(self.lags), 3),
            "lag_p99": round(self.lags[int(len(self.lags) * 0.99) - 1], 3),
            "lag_most": round(self.lags[-1], 3),
            "writes_seen": len(self.lags),
            "peak_megabytes": round(self.memory / 1e6, 1),
        }


@dataclass(frozen=True, slots=True)
class Followed:
    """A source that was migrated with `run --follow`."""

    application: Application
    mongo: MongoClient[Any]
    url: str
    config: Path
    dsn: str


@contextmanager
def followed(folder: Path, messages: int) -> Iterator[Followed]:
    """Fill a SecantusDB, migrate it, and yield both."""
    application, server = Application(messages), Server(folder / "mongo")
    server.options = SAFE
    server.start()
    try:
        fill(server.url, DATABASE, application.documents())
        config = folder / "live-follow.toml"
        config.write_text(
            f'[source]\nurl = "{server.url}"\ndatabase = "{DATABASE}"\n[target]\nurl = "embedded:{folder}/followed"\n'
        )
        with closing(EmbeddedTarget(folder / "followed")) as target, MongoClient[Any](server.url) as mongo:
            command = [str(COMMAND), "run", "--follow", "--until-caught-up", "-q", "--json", "-c", str(config)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            yield Followed(application, mongo, server.url, config, target.dsn)
    finally:
        server.kill()


@contextmanager
def following(source: Followed) -> Iterator[psutil.Process]:
    """Yield the process of `migrate follow`, which has begun to apply changes."""
    with psycopg.connect(source.dsn, autocommit=True) as connection:
        command = [str(COMMAND), "follow", "-q", "--json", "-c", str(source.config)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while connection.execute("SELECT state FROM migrator.sync").fetchone() != ("following",):
                if process.poll() is not None:
                    raise RuntimeError("migrate follow has ended")
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def measure_live(folder: Path, messages: int, seconds: float) -> LiveFigures:
    """Measure receiving of a backlog, then the lag at `RATE` writes per second."""
    with followed(folder, messages) as source:
        received, cpu = measure_receiving(source)
        with following(source) as process:
            lags, memory = measure_lag(source, process, seconds)
    return LiveFigures(received=received, receive_cpu=cpu, lags=lags, memory=memory)


def measure_receiving(source: Followed) -> tuple[float, float]:
    """Return the events per second that a receiver stores, and its CPU microseconds for each."""
    logs = source.mongo[DATABASE]["logs"]
    for start in range(0, BACKLOG, 1000):
        logs.insert_many([{"number": start + n, "text": "x" * SIZE} for n in range(1000)])
    with psycopg.connect(source.dsn, autocommit=True) as connection:

        def received() -> int:
            row = connection.execute("SELECT received FROM migrator.sync").fetchone()
            return int(row[0]) if row else 0

        before = received()
        process = ReceiverProcess(ReceiverJob(url=source.url, database=DATABASE, dsn=source.dsn, namespace=Namespace()))
        try:
            while (first := received()) == before:
                time.sleep(POLL)
            began, used = time.perf_counter(), _cpu(process.pid)
            while (count := received()) < before + BACKLOG:
                time.sleep(POLL)
            seconds, used = time.perf_counter() - began, _cpu(process.pid) - used
        finally:
            process.stop()
        connection.execute("DELETE FROM migrator.dirty WHERE collection = 'logs'")  # the lag is that of messages
    return (count - first) / seconds, used * 1e6 / (count - first)


def _cpu(pid: int | None) -> float:
    return sum(spent([psutil.Process(pid)]).values())


def measure_lag(source: Followed, process: psutil.Process, seconds: float) -> tuple[list[float], float]:
    """Return the seconds until each change was visible, sorted, and the peak memory of the largest process."""
    waiting: dict[str, float] = {}
    lags: list[float] = []
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(source.dsn, waiting, lags, ended))
    watcher.start()
    began, peak = time.monotonic(), 0.0
    for number, (name, document) in enumerate(writes(source.application)):
        due = began + number / RATE
        if due > began + seconds:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        if name == "messages":
            waiting[document["text"]] = time.monotonic()
        source.mongo[DATABASE][name].replace_one({"_id": document["_id"]}, document, upsert=True)
        if number % RATE == 0:
            peak = max(peak, largest(process))
    ended.set()
    watcher.join()
    return sorted(lags), peak


def writes(application: Application) -> Iterator[tuple[str, Document]]:
    """Yield the documents to write: half of them new messages, most others messages with a new text."""
    new, old, talks = application.new_messages(), application.new_texts(), application.new_titles()
    for number, kind in enumerate(cycle("nonononont")):
        changes = {"n": new, "o": old, "t": talks}[kind]
        name, _, raw = next(changes)
        document = bson.decode(raw or b"")
        yield name, {**document, "text": f"{_TEXT} {number}"} if name == "messages" else document


def _watch(dsn: str, waiting: dict[str, float], lags: list[float], ended: threading.Event) -> None:
    """Look for written texts until all are visible, at most a minute after the end."""
    limit = None
    query = "SELECT content FROM messages WHERE content = ANY(%s) AND content LIKE 'written as %%'"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE INDEX ON messages (content text_pattern_ops) WHERE content LIKE 'written as %'")
        while not ended.is_set() or (waiting and time.monotonic() < (limit or time.monotonic() + 1)):
            if ended.is_set() and limit is None:
                limit = time.monotonic() + 60
            for (text,) in connection.execute(query, (list(waiting)[:1000],)).fetchall():
                lags.append(time.monotonic() - waiting.pop(text))
            time.sleep(POLL)


def largest(process: psutil.Process) -> float:
    """Return the resident bytes of the largest process of the command."""
    family = [process, *process.children(recursive=True)]
    return max((float(each.memory_info().rss) for each in family if "postgres" not in each.name()), default=0.0)


def live_follow_lines(figures: LiveFigures) -> list[str]:
    """Return the lines on receiving and on the lag."""
    each = figures.as_json()
    lag = f"{each['lag_median'] * 1000:,.0f} ms median, {each['lag_p99'] * 1000:,.0f} ms p99"
    return [
        f"{'received from a backlog':36}{each['received_per_second']:10,.0f} events/s,"
        f" {each['receive_microseconds']:.0f} µs CPU of the receiver",
        f"{f'visible after, at {RATE} writes/s':36}{lag}, {each['lag_most'] * 1000:,.0f} ms most;"
        f" {each['writes_seen']:,} changes, {each['peak_megabytes']:.0f} MB",
    ]
