"""What every process does that this package starts: leave Ctrl-C to the parent, and end with the parent.

It imports next to nothing of the package, because a process that does not load documents starts in half the time
without that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading

from migrator.execution.garbage import collect_after_imports


def begin_child() -> None:
    """Set up a child process: the parent handles Ctrl-C, and the child ends with its parent, also if that is killed."""
    collect_after_imports()
    sys.excepthook = sys.__excepthook__  # see starting.py
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
