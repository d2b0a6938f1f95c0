"""The server process that forks workers: what it imports, and its start. Imports next to nothing, as child.py.

It can start before the command itself is imported, so that both import at the same time (`commands/early_start.py`).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from typing import Final

LARGE_SOURCE: Final = 32 << 20  # bytes; below this size the start of worker processes takes longer than it saves
PACKAGES: Final = "MIGRATE_PRELOADED_PACKAGES"  # the environment variable that names the packages of the project

_FIRST: Final = ("migrator.execution.starting", "migrator.execution.tasks")
_LAST: Final = "migrator.execution.preloaded"


def start_fork_server(packages: tuple[str, str, str] | None, modules: tuple[str, ...] = ()) -> BaseContext:
    """Start the server process if it does not run, and return the context that uses it. Do not wait for its imports.

    `packages`: of the project, as `ProjectPackages`. `modules`: what it imports besides what every worker needs.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_FIRST, *modules, _LAST])
    resource_tracker.ensure_running()  # the server would start it, which ends the blocking of the signal
    # This process handles Ctrl-C. The server starts with the signal blocked, until `starting` ignores it.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        if packages is not None:
            os.environ[PACKAGES] = json.dumps(packages)
        forkserver.ensure_running()
    finally:
        os.environ.pop(PACKAGES, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return context
