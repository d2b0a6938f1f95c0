"""`migrate follow` during a cutover: the one at work in another process, or one in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from migrator.errors import LockedError, MigrateError, StoppedError
from migrator.events import Event, Notice
from migrator.state import sync
from migrator.state.follow_lock import FOLLOW_KEY
from migrator.state.lock import find_holder
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows.follow import follow
from migrator.workflows.migration import MigrationContext
from migrator.workflows.run_options import FollowOptions

CHECK_SECONDS: Final = 0.5  # between two looks whether the other process is at work
START_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.05
_AT_WORK: Final = (sync.FOLLOWING, sync.SWITCHED)  # in the latter, changes are returned to the source
Follow = Callable[[MigrationContext, Target, Callable[[], bool]], object]


def follow_until(context: MigrationContext, target: Target, stopped: Callable[[], bool]) -> None:
    """Apply changes until `stopped` returns true."""
    follow(context, target, FollowOptions(stopped=stopped))


class FollowAtWork:
    """`is_own`: whether this process follows; otherwise another one does."""

    def __init__(self, connection: Connection, thread: _FollowThread | None) -> None:
        self._connection, self._thread = connection, thread
        self._checked = time.monotonic()

    @property
    def is_own(self) -> bool:
        return self._thread is not None

    def check(self) -> None:
        """Check that changes are being applied. Raises: `StoppedError`, or the error that ended it."""
        if self._thread is not None:
            self._thread.check()
            return
        if time.monotonic() - self._checked < CHECK_SECONDS:
            return
        self._checked = time.monotonic()
        if not is_following(self._connection):
            raise StoppedError("`migrate follow` has ended", "Start it again, then run this command again.")

    def stop(self) -> BaseException | None:
        """End the thread of this process, if there is one, and return the error that ended it."""
        return None if self._thread is None else self._thread.stop()


class _FollowThread:
    def __init__(self, context: MigrationContext, target: Target, act: Follow) -> None:
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(context, target, act), name="follow", daemon=True)
        self._thread.start()

    def _run(self, context: MigrationContext, target: Target, act: Follow) -> None:
        try:
            act(context, target, self._stopped.is_set)
        except BaseException as error:  # noqa: BLE001 - raised in the other thread
            self._error = error

    def check(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._thread.is_alive():
            raise StoppedError("following has ended", "Run this command again.")

    def stop(self) -> BaseException | None:
        self._stopped.set()
        self._thread.join()
        return self._error


def is_following(connection: Connection) -> bool:
    """Return whether a process applies changes."""
    return find_holder(connection, FOLLOW_KEY) is not None


@contextmanager
def follow_at_work(
    context: MigrationContext, target: Target, connection: Connection, act: Follow = follow_until
) -> Iterator[FollowAtWork]:
    """Let changes be applied in the block: by another process if one is at work, otherwise by a thread.

    Raises: `LockedError` if another command uses the target; the errors of `follow`.
    """
    if is_following(connection):
        found = FollowAtWork(connection, None)
        _wait_started(found, context, connection)
        yield found
        return
    if (holder := find_holder(connection)) is not None:
        raise LockedError(
            f"another migrate process is using this target: {holder}",
            hint="Wait until it has finished (`migrate status` shows its progress), then run the same command again.",
        )
    at_work = FollowAtWork(connection, _FollowThread(replace(context, emit=_only_warnings(context)), target, act))
    try:
        _wait_started(at_work, context, connection)
        yield at_work
    finally:
        error = at_work.stop()
        if isinstance(error, MigrateError):  # what the block has reached does not depend on it
            context.emit(Notice(text=f"following ended: {error.message}. {error.hint}", level="warning"))


def _wait_started(at_work: FollowAtWork, context: MigrationContext, connection: Connection) -> None:
    """Wait until changes are applied: `follow` prepares the target first."""
    end = time.monotonic() + START_SECONDS
    while not (is_following(connection) and sync.read_state(connection, context.namespace) in _AT_WORK):
        at_work.check()
        if time.monotonic() > end:
            raise StoppedError("following does not begin", "`migrate follow` shows why.")
        time.sleep(_POLL_SECONDS)


def _only_warnings(context: MigrationContext) -> Callable[[Event], None]:
    """Return an `Emit` that passes warnings on: the steps of the cutover are shown, not those of following."""

    def emit(event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning":
            context.emit(event)

    return emit
