"""`python -m bench.whole`: a whole run against `pg_dump -Fc | pg_restore -j2` of the very database that it made.

Both into an empty embedded PostgreSQL with the same settings, in turns; the server is running before the clock starts,
and a run's clock is its own (`run --json`, "seconds"). Peak memory is sampled every 50 ms over all processes of a run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from bench.documents import write_dump
from migrator.targets.bundled import program_path
from migrator.targets.embedded import EmbeddedTarget

COMMAND = Path(sys.executable).with_name("migrate")


@dataclass
class Series:
    """Seconds of each repetition, by what was done."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    peak: float = 0.0  # bytes, of the largest process of ours

    def add(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def ratio(self, one: str, other: str) -> float:
        pairs = zip(self.seconds[one], self.seconds[other], strict=True)
        return statistics.median(a / b for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.whole", description="A whole run against pg_restore -j2.")
    parser.add_argument("--documents", type=int, default=500_000, help="messages to make")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 1])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="migrate-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_dump(folder / "dump" / "LibreChat", arguments.documents)
        series = Series()
        for _ in range(arguments.repetitions):
            for workers in arguments.workers:
                run(folder, workers, series)
            restore(folder, series)
    report(series, arguments.workers)


def run(folder: Path, workers: int, series: Series) -> None:
    """One migration; the last one's database stays, to be dumped."""
    shutil.rmtree(folder / "migrated", ignore_errors=True)
    config = folder / "migrate.toml"
    config.write_text(
        f'[source]\nurl = "dump:{folder}/dump"\n[target]\nurl = "embedded:{folder}/migrated"\n'
        f"[engine]\nworkers = {workers}\n"
    )
    with closing(EmbeddedTarget(folder / "migrated")):
        process = subprocess.Popen([COMMAND, "run", "-q", "--json", "-c", config], stdout=subprocess.PIPE)
        series.peak = max(series.peak, watch(process))
        assert process.stdout is not None  # a pipe was asked for
        answer: dict[str, Any] = json.loads(process.stdout.read())
        series.add(f"run, {workers} workers", answer["seconds"])


def watch(process: subprocess.Popen[bytes]) -> float:
    """The most resident bytes that one of the processes has had."""
    peak = 0.0
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            ours = [each for each in family if "python" in each.name()]
            peak = max([peak, *(each.memory_info().rss for each in ours)])
        except psutil.Error:
            continue
        time.sleep(0.05)
    return peak


def restore(folder: Path, series: Series) -> None:
    archive = folder / "pg.dump"
    with closing(EmbeddedTarget(folder / "migrated")) as target:
        subprocess.run([program_path("pg_dump"), "-Fc", "-f", archive, target.dsn], check=True)
    with restored(folder) as target:
        began = time.perf_counter()
        subprocess.run([program_path("pg_restore"), "-j2", "--no-owner", "-d", target.dsn, archive], check=True)
        series.add("pg_restore -j2", time.perf_counter() - began)


@contextmanager
def restored(folder: Path) -> Iterator[EmbeddedTarget]:
    try:
        with closing(EmbeddedTarget(folder / "restored")) as target:
            yield target
    finally:
        shutil.rmtree(folder / "restored", ignore_errors=True)


def report(series: Series, workers: list[int]) -> None:
    for name, seconds in series.seconds.items():
        print(f"{name:30}{statistics.median(seconds):9.1f} s   ({', '.join(f'{each:.1f}' for each in seconds)})")
    for count in workers:
        print(f"run, {count} workers ÷ pg_restore -j2: {series.ratio(f'run, {count} workers', 'pg_restore -j2'):.2f}")
    print(f"peak memory of a process of ours: {series.peak / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
