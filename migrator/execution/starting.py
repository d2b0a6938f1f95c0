"""For the server process that forks workers, which imports this first: it and its workers say nothing when the command
is interrupted.

Ctrl-C reaches them, too, and the command handles it. A worker that starts while its parent ends cannot open what the
parent has closed. Their tracebacks would follow the message of the interrupted command.
"""

from __future__ import annotations

import gc
import signal
import sys
from types import TracebackType

_GONE = (FileNotFoundError, EOFError, BrokenPipeError, ConnectionError)


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not isinstance(error, _GONE):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _report
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see fork_server.py
gc.disable()  # until a worker begins: `begin_child`
