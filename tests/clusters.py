"""A Dask cluster for tests: a scheduler and workers, each a process of its own that may be killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mongo import free_port

if TYPE_CHECKING:
    from distributed import Client


class Cluster:
    """Processes on this machine; their output is in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    def start(self, workers: int) -> None:
        self.start_scheduler()
        for _ in range(workers):
            self.start_worker()
        with self.client() as client:
            if workers:
                client.wait_for_workers(workers, timeout=60)

    def client(self) -> Client:
        from distributed import Client  # here: half a second that other test processes need not take

        return Client(f"tcp://127.0.0.1:{self.port}", timeout=30, set_as_default=False)

    def start_scheduler(self) -> None:
        self.scheduler = self._spawn(
            "dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"
        )

    def start_worker(self) -> subprocess.Popen[bytes]:
        scheduler = f"tcp://127.0.0.1:{self.port}"
        process = self._spawn("dask_worker", scheduler, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        self.workers.append(process)
        return process

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(timeout=30)

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        number = len(list(self.folder.glob("*.log")))
        with (self.folder / f"{program}-{number}.log").open("wb") as log:
            command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)


@contextmanager
def cluster_in(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        cluster.start(workers)
        yield cluster
    finally:
        cluster.stop()
