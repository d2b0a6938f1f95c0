"""The errors the engine raises: each carries a cause, a remedy and an exit code (contract.md).

    MigrateError            1   a defect, or anything not named below
    ├── UsageError          2   the command line, migrate.toml, a mapping or a schema is wrong
    ├── PlanError           3   the plan found blockers, or no longer fits
    ├── DifferenceError     4   the target does not equal what the source says, or a count does not add up
    ├── StoppedError        5   stopped before the end; the same command goes on
    │   └── LockedError         another migrate is at work on the target
    ├── RevertRefusedError  6   a revert would lose what the migration did not bring
    └── AccessError         7   a system outside cannot be reached, refuses access, or hands out damaged data
        ├── SourceError
        │   └── DamagedSourceError   names file and byte offset
        ├── TargetError
        └── EmbeddingError

Bad documents are not errors: they are values (`handover.Reject`, `handover.Finding`).
"""

from __future__ import annotations

from typing import Any


class MigrateError(Exception):
    """Base of all. `message` says what happened and why, `hint` what to do about it, `details` more for --json."""

    exit_code = 1
    transient = False  # whether the same may well succeed a moment later

    def __init__(self, message: str, hint: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers hand errors to the process that started them, whatever arguments a subclass wants.
        return _revive, (type(self), self.__dict__)


class UsageError(MigrateError):
    exit_code = 2


class PlanError(MigrateError):
    exit_code = 3


class DifferenceError(MigrateError):
    exit_code = 4


class StoppedError(MigrateError):
    exit_code = 5


class LockedError(StoppedError):
    """Another migrate is at work on the target."""


class RevertRefusedError(MigrateError):
    exit_code = 6


class AccessError(MigrateError):
    exit_code = 7


class SourceError(AccessError):
    """The source cannot be reached or read."""


class DamagedSourceError(SourceError):
    """A dump is truncated or corrupt. `file` and `offset` (bytes, uncompressed) say where."""

    def __init__(self, message: str, *, file: str, offset: int, hint: str = "") -> None:
        super().__init__(f"{file}, byte {offset}: {message}", hint)
        self.file = file
        self.offset = offset


class TargetError(AccessError):
    """The target cannot be reached, or lacks something the migration needs."""


class EmbeddingError(AccessError):
    """The embedding service cannot be reached, refuses access, or answers nothing usable."""


def _revive(kind: type[MigrateError], state: dict[str, Any]) -> MigrateError:
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    return error
