"""The CPU seconds of processes and of their descendants."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench.processes import Series

PR_SET_CHILD_SUBREAPER = 36


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


def adopt_orphans() -> None:
    """Let processes whose parent has ended become children of this process, so that their CPU time is counted."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def measure(name: str, folder: Path, act: Callable[[], tuple[float, float]], elapsed: Series, cpu: Series) -> None:
    """Add the seconds that `act` returns, and the CPU seconds of this process's children and of the server."""
    server = server_of(folder)
    before = server_seconds(server) + children_seconds(server)
    seconds, peak = act()
    elapsed.add(name, seconds, peak)
    cpu.add(name, server_seconds(server) + children_seconds(server) - before, peak)


def children_seconds(server: psutil.Process) -> float:
    """Wait until all children but the server have ended. Return their CPU seconds, and those of theirs."""
    while [each for each in psutil.Process().children() if each != server]:
        os.waitpid(-1, os.WNOHANG)
        time.sleep(0.05)
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)
