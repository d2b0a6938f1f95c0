"""The folder of an export. A file in it says that the export is not complete, until it is."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from migrator.errors import UsageError
from migrator.workflows.export_files import SPACE_HINT, escape

MARKER = "incomplete.txt"
_TEXT = "This export is not complete. The same `migrate export` deletes its files and begins again.\n"


@contextmanager
def export_folder(folder: Path, database: str) -> Iterator[Path]:
    """Create and yield the folder of the database. Files of an interrupted export are deleted.

    Raises: `UsageError` if `folder` contains other files, if another export is writing to it, or if it cannot be used.
    """
    home, marker = folder / escape(database), folder / MARKER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _require_own(folder, home)
        file = marker.open("a", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot create {home}: {error.strerror}") from error
    with file:
        _lock(file, folder)
        try:
            _delete_parts(folder, home)
            if not file.tell():
                file.write(_TEXT)
                file.flush()
            home.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot create {home}: {error.strerror}", hint=SPACE_HINT) from error
        yield home
        marker.unlink()


def _require_own(folder: Path, home: Path) -> None:
    """Raises: `UsageError` if a folder contains anything but the files of an interrupted export of this database."""
    others = [each.name for each in folder.iterdir() if each not in (home, folder / MARKER)]
    is_own = (folder / MARKER).exists() and all(".jsonl" in name for name in others)
    if not is_own and any(folder.iterdir()):
        raise UsageError(f"the folder {folder} is not empty", hint="Use a new folder.")


def _lock(file: IO[str], folder: Path) -> None:
    """Exclude other exports until the file is closed. File systems without locks are used without."""
    with suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another export is writing to {folder}", hint="Use a new folder.") from None


def _delete_parts(folder: Path, home: Path) -> None:
    for path in (*home.glob("*.bson*"), *home.glob("*.metadata.json"), *folder.glob("*.jsonl*")):
        path.unlink()
