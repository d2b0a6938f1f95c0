"""A server that replays a dump over the wire protocol of MongoDB, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Replay:
    """A running server."""

    url: str
    process: subprocess.Popen[str]

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has taken, with reading the dump."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("cpu\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


@contextmanager
def replayed(folder: Path) -> Iterator[Replay]:
    """Serve the dump in a folder, `folder/DATABASE/COLLECTION.bson`, until the end of the block."""
    command = [sys.executable, "-m", "bench.replay.server", str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Replay(f"mongodb://127.0.0.1:{int(process.stdout.readline())}", process)
        finally:
            process.stdin.close()
            process.wait(30)
