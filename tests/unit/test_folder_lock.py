"""The lock of a data folder."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrator.errors import TargetError
from migrator.targets import folder_lock
from migrator.targets.folder_lock import hold_folder, lock_path


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The lock, held as another process would: through a file of its own."""
    handle = os.open(lock_path(folder), os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(handle)


def test_other_folders_are_not_locked(tmp_path: Path) -> None:
    """A lock on one folder keeps nobody out of another one."""
    with held(tmp_path / "one"), hold_folder(tmp_path / "two"):
        assert lock_path(tmp_path / "two").exists()


def test_the_folder_may_be_locked_again_inside(tmp_path: Path) -> None:
    """A nested use of the lock does not wait for itself."""
    with hold_folder(tmp_path / "one"), hold_folder(tmp_path / "one"):
        pass


def test_a_wait_is_said_and_ends_with_the_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the lock the user is told so, once; then the lock is taken."""
    monkeypatch.setattr(folder_lock, "NOTICE_AFTER", 0)
    told: list[str] = []
    said = threading.Event()

    def notify(text: str) -> None:
        told.append(text)
        said.set()

    def take() -> None:
        with hold_folder(tmp_path / "one", notify):
            pass

    thread = threading.Thread(target=take)
    with held(tmp_path / "one"):
        thread.start()
        assert said.wait(60)
    thread.join(60)
    assert not thread.is_alive()
    assert told == [f"waiting for another migrate process that starts or stops the server in {tmp_path / 'one'}"]


def test_a_lock_that_is_never_released_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout the error names the folder."""
    monkeypatch.setattr(folder_lock, "TIMEOUT", 0)
    with (
        held(tmp_path / "one"),
        pytest.raises(TargetError, match="has held the lock of"),
        hold_folder(tmp_path / "one"),
    ):
        pass


def test_a_lock_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """A parent that is a file is named in the error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="cannot use"), hold_folder(tmp_path / "file" / "one"):
        pass
