"""Limits for embedding: kill -9 loses nothing and repeats only requests in flight; the service is kept busy."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import pytest

from tests.chunks import add_chunks, configure, count_wrong, kept, make_texts, migrate, unfinish
from tests.driving import call
from tests.embedding_server import Running, serving
from tests.killing import wait_for, wait_for_the_lock
from tests.processes import start
from tests.templates import Templates


@pytest.fixture
def service() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture
def target(database: str, templates: Templates, tmp_path: Path) -> str:
    templates.copy("demo", database, lambda url: migrate(tmp_path, url))
    return database


def test_killed_three_times(target: str, tmp_path: Path, service: Running) -> None:
    """1,000 chunks, 20 % failing requests, three times kill -9: every chunk has its vector."""
    check_kills(target, tmp_path, service, chunks=1000, concurrency=4, batch=8, pause="0.1")


@pytest.mark.long
def test_ten_thousand_chunks_killed_three_times(target: str, tmp_path: Path, service: Running) -> None:
    """The full test, with the pauses that real services request."""
    check_kills(target, tmp_path, service, chunks=10_000, concurrency=8, batch=16, pause="1")


def check_kills(
    database: str, folder: Path, service: Running, *, chunks: int, concurrency: int, batch: int, pause: str
) -> None:
    add_chunks(database, make_texts(chunks))
    config = configure(folder / "openai.toml", database, service, concurrency=concurrency, batch=batch)
    service.behave(latency=0.05, rate=0.2, pause=pause)
    under_way = []
    for number in (1, 2, 3):
        kill_at(database, config, chunks * number // 4)
        while service.stats()["open"]:  # responses that no client reads are billed, too
            time.sleep(0.02)
        wait_for_the_lock(database)
        under_way.append(len(service.stats()["paid"].keys() - kept(database)))
    told = call("embed", "-c", config, "--json")
    assert (told.code, told.json["failed"]) == (0, 0), told.told
    assert count_wrong(database) == 0
    paid = service.stats()["paid"]
    twice = sum(paid.values()) - chunks
    print(f"{chunks:,} chunks, under way at the kills: {under_way}, paid twice: {twice}", service.stats()["told"])
    assert len(paid) == chunks
    assert twice <= sum(under_way)
    assert max(under_way) <= 2 * concurrency * batch


def kill_at(database: str, config: Path, filled: int) -> None:
    """Start `embed` and kill it (SIGKILL) when this many chunks have a vector."""
    process = start("embed", "-c", config)
    query: LiteralString = "SELECT count(embedding) FROM document_chunks"
    assert wait_for(database, query, filled, process), "it ended before it could be killed"
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_service_is_kept_busy(target: str, tmp_path: Path, service: Running) -> None:
    """Without errors, at least 0.8 of the requests find all others that `concurrency` allows open as well."""
    check_busy(target, tmp_path, service, chunks=256, concurrency=4, batch=8)


@pytest.mark.long
@pytest.mark.parametrize(("concurrency", "batch"), [(4, 16), (8, 16), (16, 8), (8, 32)])
def test_ten_thousand_chunks_at_full_speed(
    target: str, tmp_path: Path, service: Running, concurrency: int, batch: int
) -> None:
    """The same for longer and with more concurrency; the rate is printed."""
    check_busy(target, tmp_path, service, chunks=10_000, concurrency=concurrency, batch=batch, latency=0.05)


def check_busy(
    database: str, folder: Path, service: Running, *, chunks: int, concurrency: int, batch: int, latency: float = 0
) -> None:
    add_chunks(database, make_texts(chunks))
    config = configure(folder / "openai.toml", database, service, concurrency=concurrency, batch=batch)
    service.behave(latency=latency, together=concurrency)
    unfinish(database)
    assert call("run", "-c", config).code == 0
    stats = service.stats()
    spent, requests = stats["last"] - stats["first"], chunks / batch
    print(f"{concurrency} × {batch}: {chunks / spent:,.0f} chunks/s, {stats['told']}")
    assert count_wrong(database) == 0
    assert stats["told"].get("starved", 0) <= 0.2 * requests
