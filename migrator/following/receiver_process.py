"""The process that receives the changes of a live source (receiver.py): its start, its messages and its end."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

from migrator.errors import MigrateError
from migrator.execution.child import begin_child
from migrator.execution.memory import lower_mmap_threshold
from migrator.following.receiver import Receiver, ReceiverJob
from migrator.monitoring.sync_status import RECEIVER

_STOP_SECONDS: Final = 10.0  # for which the process may finish its transaction
_TEXT_BYTES: Final = 2000


class ReceiverProcess:
    """A receiver in a process of its own. It ends with this process, also if that is killed."""

    def __init__(self, job: ReceiverJob) -> None:
        self._job = job
        self._context = multiprocessing.get_context("spawn")
        self._error: BaseException | None = None
        self._is_hurried = False
        self.start()

    def start(self) -> None:
        """Start the process; again, if it has ended."""
        self._error = None
        # Memory without locks: a process that is killed while it holds one would block this process.
        self._stop: Any = self._context.RawValue("b", 0)
        self._hurry: Any = self._context.RawValue("b", self._is_hurried)
        self._text: Any = self._context.RawArray("c", _TEXT_BYTES)
        self._errors, sender = self._context.Pipe(duplex=False)
        self._process = self._context.Process(
            target=_run, args=(self._job, self._stop, self._hurry, self._text, sender), name=RECEIVER, daemon=True
        )  # fmt: skip
        self._process.start()
        sender.close()

    restart = start

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def waiting(self) -> str:
        """Return what the receiver waits for, such as a server that does not respond; "" while it works."""
        return bytes(self._text.value).decode(errors="replace")

    @property
    def error(self) -> BaseException | None:
        """Return the error that ended the process; None while it works, and if it was killed."""
        if self._error is None and self._errors.poll():
            try:
                self._error = self._errors.recv()
            except EOFError:
                return None
        return self._error

    def check(self) -> None:
        """Raise the error that ended the process; start it again if it was killed."""
        if self.is_alive:
            return
        if self.error is not None:
            raise self.error
        self.restart()

    def hurry(self) -> None:
        """Store positions without events more often from now on."""
        self._is_hurried, self._hurry.value = True, 1

    def stop(self) -> None:
        """End the process after its current transaction."""
        self._stop.value = 1
        self._process.join(_STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _run(job: ReceiverJob, stop: Any, hurry: Any, text: Any, errors: Pipe) -> None:
    """Receive in a new process; send the error that ends it."""
    begin_child()
    lower_mmap_threshold()

    def report(reason: str) -> None:
        text.value = reason.encode()[: _TEXT_BYTES - 1]

    try:
        Receiver(job, report, lambda: bool(stop.value), lambda: bool(hurry.value)).run()
    except BaseException as error:
        if not isinstance(error, MigrateError):  # an internal error; its text may quote documents
            hint = "Internal error; please report it."
            error = MigrateError(f"the receiver ended: {type(error).__name__}", hint)
        errors.send(error)
        raise
