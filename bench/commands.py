"""Comparison of plan, run, verify, export and revert on the same messages, with one embedded server.

The commands run one after the other, and again from the beginning for each repetition; ratios to the run are those of
each repetition. Seconds are those of the whole command, its start included. CPU seconds are those of all processes and
of the servers: they depend little on what else the machine does.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.cpu import adopt_orphans, measure
from bench.documents import write_dump
from bench.processes import COMMAND, Series, watch
from migrator.targets.embedded import EmbeddedTarget

RUN = "run"
COMMANDS = {
    "plan": ["plan"],
    RUN: ["run"],
    "verify --level rows": ["verify", "--level", "rows"],
    "verify --level roundtrip": ["verify", "--level", "roundtrip"],
    "export": ["export", "{folder}/exported"],
    "revert": ["revert", "--yes"],
}


def compare_commands(folder: Path, documents: int, repetitions: int, workers: int) -> tuple[Series, Series]:
    """Return the seconds of each command, and the CPU seconds."""
    adopt_orphans()
    write_dump(folder / "dump" / "LibreChat", documents)
    config = folder / "migrate.toml"
    config.write_text(
        f'[source]\nurl = "dump:{folder}/dump"\n[target]\nurl = "embedded:{folder}/migrated"\n'
        f"[engine]\nworkers = {workers}\n"
    )
    elapsed, cpu = Series(), Series()
    for _ in range(repetitions):
        for name in ("migrated", "exported"):
            shutil.rmtree(folder / name, ignore_errors=True)
        with closing(EmbeddedTarget(folder / "migrated")) as target, closing(target.connect()):
            for name, arguments in COMMANDS.items():
                words = [each.format(folder=folder) for each in arguments]
                measure(name, folder / "migrated", partial(execute, config, words, folder / "answer"), elapsed, cpu)
    return elapsed, cpu


def execute(config: Path, arguments: list[str], output: Path) -> tuple[float, float]:
    """Execute a command. Return its seconds and the peak memory of its largest process."""
    began = time.perf_counter()
    with output.open("wb") as file:
        process = subprocess.Popen([COMMAND, *arguments, "-q", "--json", "-c", config], stdout=file)
        peak = watch(process)
    assert process.returncode == 0, output.read_text()
    return time.perf_counter() - began, peak


def command_lines(elapsed: Series, cpu: Series, documents: int) -> list[str]:
    """Return the lines on all commands, with their ratios to the run."""
    return [
        f"{documents:,} messages from a dump: the commands of a migration",
        "",
        *elapsed.lines(documents),
        "CPU time of all processes",
        *cpu.lines(documents),
        "",
        *(
            f"{f'{name} ÷ run':52}{elapsed.ratio(name, RUN):9.2f}, CPU time {cpu.ratio(name, RUN):.2f}"
            for name in COMMANDS
            if name != RUN
        ),
    ]
