"""Comparison of a complete run from a dump with `pg_restore -j2` of the database that it creates, and with `scaffold`.

Both write to an empty embedded PostgreSQL with the same settings, alternately. The server is started before the
measurement; the seconds of a run are those that it reports (`run --json`, "seconds").
"""

from __future__ import annotations

import json
import shutil
import statistics
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
FULL_TEXT = "the full-text index of the messages alone"
SCAFFOLD = "migrate scaffold of the same dump"


def run_name(workers: int) -> str:
    """Return the name of a run in the tables."""
    return f"migrate run, {workers} worker{'s' if workers > 1 else ''}"


def compare_with_restore(folder: Path, documents: int, repetitions: int, workers: list[int]) -> Series:
    """Return the seconds of a run for each number of workers, and of pg_restore."""
    write_dump(folder / "dump" / "LibreChat", documents)
    series = Series()
    for _ in range(repetitions):
        for count in workers:
            run(folder, count, series)
        restore(folder, series)
        scaffold(folder, series)
    return series


def run(folder: Path, workers: int, series: Series) -> None:
    """Measure one migration. Its database is kept for `restore`."""
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
    """Dump the migrated database, then measure its restore, and the build of the index that takes longest again."""
    archive = folder / "pg.dump"
    with closing(EmbeddedTarget(folder / "migrated")) as target:
        subprocess.run([program_path("pg_dump"), "-Fc", "-f", archive, target.dsn], check=True)
    with restored(folder) as target:
        began = time.perf_counter()
        subprocess.run([program_path("pg_restore"), "-j2", "--no-owner", "-d", target.dsn, archive], check=True)
        series.add(RESTORE, time.perf_counter() - began)
        with closing(target.connect()) as connection:
            began = time.perf_counter()
            connection.execute("REINDEX INDEX public.messages_search_idx")
            series.add(FULL_TEXT, time.perf_counter() - began)


def scaffold(folder: Path, series: Series) -> None:
    """Measure the whole command, its start included."""
    shutil.rmtree(folder / "draft", ignore_errors=True)
    began = time.perf_counter()
    arguments = ["scaffold", str(folder / "draft"), "-q", "--source", str(folder / "dump")]
    process = subprocess.Popen([str(COMMAND), *arguments], stdout=subprocess.DEVNULL)
    peak = watch(process)
    series.add(SCAFFOLD, time.perf_counter() - began, peak)


@contextmanager
def restored(folder: Path) -> Iterator[EmbeddedTarget]:
    """Yield an empty server; it is deleted at the end."""
    try:
        with closing(EmbeddedTarget(folder / "restored")) as target:
            yield target
    finally:
        shutil.rmtree(folder / "restored", ignore_errors=True)


def whole_lines(series: Series, documents: int) -> list[str]:
    """Return the lines on complete runs from a dump, with their ratios."""
    two, one = run_name(2), run_name(1)
    return [
        f"{documents:,} messages from a dump, with all indexes, keys and the ledger",
        "",
        *series.lines(documents),
        "",
        f"{'two workers ÷ pg_restore -j2':52}{series.ratio(two, RESTORE):9.2f}",
        f"{'the full-text index ÷ two workers':52}{series.ratio(FULL_TEXT, two):9.2f}",
        f"{'two workers ÷ pg_restore, both without that index':52}{_ratio_above(series, two):9.2f}",
        f"{'one worker ÷ two workers':52}{series.ratio(one, two):9.2f}",
    ]


def _ratio_above(series: Series, name: str) -> float:
    """Return the ratio to pg_restore of what is left without the full-text index, which both build."""
    found = zip(series.seconds[name], series.seconds[RESTORE], series.seconds[FULL_TEXT], strict=True)
    return statistics.median((run - index) / (restored - index) for run, restored, index in found)
