"""The CPU seconds of processes and of their descendants."""

from __future__ import annotations

from pathlib import Path

import psutil  # type: ignore[import-untyped]


def server_of(folder: Path) -> psutil.Process:
    """Return the main process of the embedded PostgreSQL in a folder."""
    return psutil.Process(int(next(folder.rglob("postmaster.pid")).read_text().split()[0]))


def server_seconds(server: psutil.Process) -> float:
    """Return the CPU seconds of a server with its sessions, ended ones included."""
    return sum(spent([server]).values()) + reaped(server)


def spent(roots: list[psutil.Process]) -> dict[int, float]:
    """Return process ID → CPU seconds, for running processes and their descendants."""
    found = {}
    for process in [each for root in roots for each in (root, *root.children(recursive=True))]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        found[process.pid] = float(times.user + times.system)
    return found


def reaped(server: psutil.Process) -> float:
    """Return the CPU seconds of the server's ended sessions."""
    times = server.cpu_times()
    return float(times.children_user + times.children_system)
