"""The log file of `--log-file`: one line per message, with the time in UTC. Progress is one line every few seconds.

Not here: which messages there are, and masking (console.py).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from migrator.errors import UsageError


class LogFile:
    """Appends lines to a file. A new file can be read by this user only."""

    def __init__(self, path: Path) -> None:
        """Raises: `UsageError` if the file cannot be written."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror}", hint="Use another path for --log-file."
            ) from error
        self._file = open(handle, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115

    def write(self, text: str) -> None:
        """Writes each line of a text with the present time."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for line in text.splitlines():
            self._file.write(f"{now} {line}\n")

    def close(self) -> None:
        self._file.close()
