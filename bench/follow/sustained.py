"""`python -m bench.follow.sustained` follows a SecantusDB that several processes write to as fast as it accepts.

It prints the writes, the waiting changes and the memory of both processes over time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg
from pymongo import MongoClient

from bench.follow.changes import Application
from bench.follow.live import DATABASE, Followed, followed, following, writes
from bench.processes import temporary_folder

REPORT = 30.0  # seconds between two lines


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.follow.sustained", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--writers", type=int, default=3)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with temporary_folder() as folder, followed(folder, arguments.messages) as source, following(source) as process:
        count = spawn.Value("q", 0)
        writers = [
            spawn.Process(target=write, args=(source.url, arguments.messages, seed, count), daemon=True)
            for seed in range(arguments.writers)
        ]
        for each in writers:
            each.start()
        try:
            report(source, process, count, arguments.seconds)
        finally:
            for each in writers:
                each.terminate()
                each.join()
        wait_until_applied(source, process, count)


def write(url: str, messages: int, seed: int, count: Any) -> None:
    """Write until the process is ended. Each seed writes other messages to the same conversations."""
    application = Application(messages)
    application.reseed(seed)
    with MongoClient[Any](url) as mongo:
        for name, document in writes(application):
            mongo[DATABASE][name].replace_one({"_id": document["_id"]}, document, upsert=True)
            with count.get_lock():
                count.value += 1


def report(source: Followed, process: psutil.Process, count: Any, seconds: float) -> None:
    """Print a line every `REPORT` seconds."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(REPORT)
        print(line(source, process, count, time.monotonic() - began), flush=True)


def line(source: Followed, process: psutil.Process, count: Any, seconds: float) -> str:
    """Return one line of figures."""
    with psycopg.connect(source.dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT received, applied, (SELECT count(*) FROM migrator.dirty),"
            " (SELECT count(*) FROM migrator.own_transactions) FROM migrator.sync"
        ).fetchone()
    assert row is not None  # the source is followed
    sizes = [each.memory_info().rss / 1e6 for each in (process, *process.children(recursive=True)) if is_ours(each)]
    memory = ", ".join(f"{size:.0f}" for size in sorted(sizes, reverse=True))
    return (
        f"{seconds:6.0f} s  {count.value:9,} writes  {row[0]:9,} received  {row[1]:9,} applied  {row[2]:7,} waiting"
        f"  {row[3]:6,} transactions  memory {memory} MB"
    )


def is_ours(process: psutil.Process) -> bool:
    """Return whether a process belongs to migrate, not to PostgreSQL."""
    return "postgres" not in process.name()


def wait_until_applied(source: Followed, process: psutil.Process, count: Any) -> None:
    """Print how long it takes until no change waits."""
    began = time.monotonic()
    with psycopg.connect(source.dsn, autocommit=True) as connection:
        idle = 0
        while idle < 3 and time.monotonic() - began < 600:
            row = connection.execute("SELECT count(*) FROM migrator.dirty").fetchone()
            idle = idle + 1 if row == (0,) else 0
            time.sleep(0.5)
    print("after the end: " + line(source, process, count, time.monotonic() - began))


if __name__ == "__main__":
    main()
