"""For the server process that forks workers, which imports this first: a worker that starts while its parent ends says
nothing.

Such a worker cannot open what the parent has closed. Its traceback would follow the message of the interrupted command.
"""

from __future__ import annotations

import gc
import sys
from types import TracebackType

_GONE = (FileNotFoundError, EOFError, BrokenPipeError, ConnectionError)


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not isinstance(error, _GONE):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _report
gc.disable()  # until a worker begins: `begin_child`
