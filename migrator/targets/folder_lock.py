"""The lock of a data folder: no process may join the server of a folder while its last user stops it.

One lock for each folder, in a file next to it, so that unrelated folders and other users never wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from migrator.errors import TargetError

TIMEOUT = 300  # seconds
NOTICE_AFTER = 1  # seconds of waiting after which `notify` is called
_POLL_SECONDS = 0.02

_threads: defaultdict[Path, threading.RLock] = defaultdict(threading.RLock)  # flock does not exclude a nested use
_depths: defaultdict[Path, int] = defaultdict(int)


@contextmanager
def hold_folder(folder: Path, notify: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the lock of a data folder in the block. `notify` is called with the reason for a wait.

    Raises:
        TargetError: the lock file cannot be opened, or another process holds the lock for longer than `TIMEOUT`.
    """
    with _threads[folder]:
        if _depths[folder]:
            yield
            return
        handle = _open(lock_path(folder))
        try:
            _wait(handle, folder, notify)
            _depths[folder] += 1
            try:
                yield
            finally:
                _depths[folder] -= 1
        finally:
            os.close(handle)  # releases the lock


def lock_path(folder: Path) -> Path:
    """Return the path of the lock file of a data folder."""
    return folder.with_name(f"{folder.name}.lock")


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except PermissionError:  # another user's file; reading is enough to lock it
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        message = f"cannot use {path.parent}: {error.strerror}"
        raise TargetError(
            message, "Make the folder writable for this user, or use another one in target.url."
        ) from error


def _wait(handle: int, folder: Path, notify: Callable[[str], None]) -> None:
    began, notified = time.monotonic(), False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - began
        if waited > TIMEOUT:
            message = f"another process has held the lock of {folder} for {TIMEOUT} s"
            raise TargetError(message, "Wait for the other migrate process to finish, or end it.")
        if waited > NOTICE_AFTER and not notified:
            notified = True
            notify(f"waiting for another migrate process that starts or stops the server in {folder}")
        time.sleep(_POLL_SECONDS)
