"""One run of a large database from a dump: seconds of each stage, memory, and disk over time.

It takes minutes to hours and tens of gigabytes, so that it is not among the parts that run by default.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.documents import write_dump
from bench.processes import COMMAND, watch
from migrator.targets.embedded import EmbeddedTarget

SAMPLE_SECONDS = 5  # between two measurements of the disk


@dataclass
class Scale:
    """The figures of one run. `stages`: name → seconds; sizes in bytes."""

    documents: int
    dump: int
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    memory: float = 0.0
    disk: int = 0
    most_disk: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return vars(self)


def measure_scale(folder: Path, documents: int) -> Scale:
    """Run a migration of `documents` messages in `folder`. A dump that exists there is used again."""
    dump = folder / "dump" / "LibreChat"
    if not dump.exists():
        write_dump(dump, documents)
    found = Scale(documents, size_of(dump))
    config = folder / "migrate.toml"
    config.write_text(f'[source]\nurl = "dump:{folder}/dump"\n[target]\nurl = "embedded:{folder}/migrated"\n')
    stopped = threading.Event()
    with closing(EmbeddedTarget(folder / "migrated")), (folder / "answer").open("w+b") as output:
        sampler = threading.Thread(target=watch_disk, args=(found, folder / "migrated", stopped))
        sampler.start()
        try:
            process = subprocess.Popen([COMMAND, "run", "-q", "--json", "-c", config], stdout=output)
            found.memory = watch(process)
        finally:
            stopped.set()
            sampler.join()
        output.seek(0)
        found.seconds = json.load(output)["seconds"]
        status = subprocess.run([COMMAND, "status", "--json", "-c", config], capture_output=True, check=True)
        for each in json.loads(status.stdout)["finished"]:
            found.stages[each["step"]] = found.stages.get(each["step"], 0.0) + each["seconds"]
        found.disk = size_of(folder / "migrated")
    return found


def watch_disk(found: Scale, folder: Path, stopped: threading.Event) -> None:
    """Note the largest size of a folder until `stopped` is set."""
    while not stopped.wait(SAMPLE_SECONDS):
        found.most_disk = max(found.most_disk, size_of(folder))


def size_of(folder: Path) -> int:
    """Return the bytes on disk of all files in a folder. Files may vanish meanwhile."""
    done = subprocess.run(["du", "-s", "-B1", str(folder)], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0]) if done.stdout else 0


def scale_lines(found: Scale) -> list[str]:
    """Return the lines on a run: stages of a second and more, memory and disk."""
    gigabytes = 1e9
    return [
        f"{found.documents:,} messages from a dump of {found.dump / gigabytes:.1f} GB: {found.seconds:,.0f} s"
        f" ({found.documents / found.seconds:,.0f} messages/s)",
        "",
        *(f"{name:52}{seconds:9.1f} s" for name, seconds in found.stages.items() if seconds >= 1),
        "",
        f"{'largest process':52}{found.memory / 1e6:9.0f} MB",
        f"{'disk of the target afterwards':52}{found.disk / gigabytes:9.1f} GB",
        f"{'most disk of the target, with WAL and sort files':52}{found.most_disk / gigabytes:9.1f} GB",
        time.strftime("measured on %Y-%m-%d"),
    ]
