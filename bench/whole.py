"""A whole run from a dump against `pg_dump -Fc | pg_restore -j2` of the very database that it made.

Both into an empty embedded PostgreSQL with the same settings, in turns; the server is running before the clock starts,
and a run's clock is its own (`run --json`, "seconds").
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.documents import write_dump
from bench.processes import COMMAND, Series, watch
from migrator.targets.bundled import program_path
from migrator.targets.embedded import EmbeddedTarget

RESTORE = "pg_restore -j2 of the same database"


def run_name(workers: int) -> str:
    return f"migrate run, {workers} worker{'s' if workers > 1 else ''}"


def compare_restore(folder: Path, documents: int, repetitions: int, workers: list[int]) -> Series:
    """Seconds of a run with each number of workers, and of pg_restore."""
    write_dump(folder / "dump" / "LibreChat", documents)
    series = Series()
    for _ in range(repetitions):
        for count in workers:
            run(folder, count, series)
        restore(folder, series)
    return series


def run(folder: Path, workers: int, series: Series) -> None:
    """One migration; the last one's database stays, to be dumped."""
    shutil.rmtree(folder / "migrated", ignore_errors=True)
    config = folder / "migrate.toml"
    config.write_text(
        f'[source]\nurl = "dump:{folder}/dump"\n[target]\nurl = "embedded:{folder}/migrated"\n'
        f"[engine]\nworkers = {workers}\n"
    )
    with closing(EmbeddedTarget(folder / "migrated")), (folder / "answer").open("w+b") as output:
        process = subprocess.Popen([COMMAND, "run", "-q", "--json", "-c", config], stdout=output)
        peak = watch(process)
        output.seek(0)
        answer: dict[str, Any] = json.load(output)
        series.add(run_name(workers), answer["seconds"], peak)


def restore(folder: Path, series: Series) -> None:
    archive = folder / "pg.dump"
    with closing(EmbeddedTarget(folder / "migrated")) as target:
        subprocess.run([program_path("pg_dump"), "-Fc", "-f", archive, target.dsn], check=True)
    with restored(folder) as target:
        began = time.perf_counter()
        subprocess.run([program_path("pg_restore"), "-j2", "--no-owner", "-d", target.dsn, archive], check=True)
        series.add(RESTORE, time.perf_counter() - began)


@contextmanager
def restored(folder: Path) -> Iterator[EmbeddedTarget]:
    try:
        with closing(EmbeddedTarget(folder / "restored")) as target:
            yield target
    finally:
        shutil.rmtree(folder / "restored", ignore_errors=True)
