"""`python -m bench.verify` compares `verify --level rows` with the run of the same data, on one embedded server.

Seconds are those that each command reports. CPU seconds are those of its processes and of the server together; other
load on the machine affects them less.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench.cpu import server_of, server_seconds, spent
from bench.documents import write_dump
from bench.processes import COMMAND
from migrator.targets.embedded import EmbeddedTarget

Pair = tuple[float, float]  # seconds, CPU seconds


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.verify", description="Compare verify --level rows with run.")
    parser.add_argument("--documents", type=int, default=200_000, help="messages to generate")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--level", default="rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="migrate-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_dump(folder / "dump" / "LibreChat", arguments.documents)
        pairs = [measure(folder, arguments.workers, arguments.level) for _ in range(arguments.repetitions)]
    for label, place in (("seconds", 0), ("CPU seconds", 1)):
        for each in pairs:
            run, verify = each[0][place], each[1][place]
            print(f"{label:12} run {run:7.1f}   verify {verify:7.1f}   verify ÷ run {verify / run:.2f}")
        ratio = statistics.median(verify[place] / run[place] for run, verify in pairs)
        print(f"{label:12} median of verify ÷ run: {ratio:.2f}")


def measure(folder: Path, workers: int, level: str) -> tuple[Pair, Pair]:
    """Measure one run to an empty server, and one verification of it."""
    shutil.rmtree(folder / "migrated", ignore_errors=True)
    config = folder / "migrate.toml"
    config.write_text(
        f'[source]\nurl = "dump:{folder}/dump"\n[target]\nurl = "embedded:{folder}/migrated"\n'
        f"[engine]\nworkers = {workers}\n"
    )
    with closing(EmbeddedTarget(folder / "migrated")) as target, closing(target.connect()):
        return command(folder, config, "run"), command(folder, config, "verify", "--level", level)


def command(folder: Path, config: Path, *arguments: str) -> Pair:
    """Execute a command; return its seconds and CPU seconds."""
    server = server_of(folder / "migrated")
    before = server_seconds(server)
    process = subprocess.Popen([COMMAND, *arguments, "-q", "--json", "-c", config], stdout=subprocess.PIPE)
    ours = watch(process)
    assert process.stdout is not None  # a pipe was asked for
    answer = json.loads(process.stdout.read())
    assert process.returncode == 0, answer
    return answer["seconds"], ours + server_seconds(server) - before


def watch(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU seconds of a command with all its workers, sampled until they end."""
    latest: dict[int, float] = {}
    while process.poll() is None:
        try:
            latest |= spent([psutil.Process(process.pid)])
        except psutil.Error:
            continue
        time.sleep(0.02)
    return sum(latest.values())


if __name__ == "__main__":
    main()
