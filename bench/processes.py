"""Timed commands: the seconds of each repetition, and the memory of their processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

COMMAND = Path(sys.executable).with_name("migrate")


@dataclass
class Series:
    """Name → seconds of each repetition, and name → peak bytes of the largest process."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, seconds: float, peak: float = 0.0) -> None:
        """Add one repetition."""
        self.seconds.setdefault(name, []).append(seconds)
        self.peak[name] = max(self.peak.get(name, 0.0), peak)

    def median(self, name: str) -> float:
        """Return the median of the seconds."""
        return statistics.median(self.seconds[name])

    def ratio(self, one: str, other: str) -> float:
        """Return the median of the ratios of each repetition."""
        pairs = zip(self.seconds[one], self.seconds[other], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def lines(self, documents: int) -> list[str]:
        """Return one line per name: seconds, documents per second, peak memory, all values."""
        return [
            f"{name:52}{self.median(name):8.1f} s{documents / self.median(name):12,.0f} docs/s"
            + (f"{self.peak[name] / 1e6:8.0f} MB" if self.peak[name] else f"{'':11}")
            + f"   ({', '.join(f'{each:.1f}' for each in values)})"
            for name, values in self.seconds.items()
        ]


def watch(process: subprocess.Popen[bytes]) -> float:
    """Wait for a command. Return the peak resident bytes of its largest process, sampled every 50 ms."""
    peak = 0.0
    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            peak = max([peak, *(each.memory_info().rss for each in family if "postgres" not in each.name())])
        except psutil.Error:
            continue
        time.sleep(0.05)
    return peak


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that PostgreSQL may enter; it is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="migrate-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
