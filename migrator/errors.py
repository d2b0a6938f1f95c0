"""The errors of the engine. Each carries a cause, a remedy and an exit code.

    MigrateError            1   an internal error, or anything not listed below
    ├── UsageError          2   invalid command line, configuration, mapping or schema
    ├── PlanError           3   the plan has blockers, or it is out of date
    ├── DifferenceError     4   the target differs from the source, or the accounting has a remainder
    ├── StoppedError        5   interrupted; the same command resumes
    │   └── LockedError         another migrate process is using this target
    ├── RevertRefusedError  6   revert would delete rows not created by the migration
    ├── RejectLimitError    8   more documents rejected than policies.max_rejected allows
    └── AccessError         7   an external system is unreachable, denies access, or returns damaged data
        ├── SourceError
        │   └── DamagedSourceError   has file and byte offset
        ├── TargetError
        └── EmbeddingError

A document that cannot be loaded is not an error but a value (`translation.outcomes.Reject` and `Finding`).
"""

from __future__ import annotations

from typing import Any, Final

RESUME: Final = "Committed data is consistent. Run the same command again to resume."


class MigrateError(Exception):
    """Base class. `message`: what happened and why; `hint`: what to do about it; `details`: more values for --json."""

    exit_code = 1
    transient = False  # whether a retry may succeed

    def __init__(self, message: str, hint: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes send errors to the main process; subclasses have different constructors.
        return _restore, (type(self), self.__dict__)


class UsageError(MigrateError):
    exit_code = 2


class PlanError(MigrateError):
    exit_code = 3


class DifferenceError(MigrateError):
    exit_code = 4


class StoppedError(MigrateError):
    exit_code = 5


class LockedError(StoppedError):
    """Another migrate process is using the target."""


class RevertRefusedError(MigrateError):
    exit_code = 6


class RejectLimitError(MigrateError):
    exit_code = 8


class AccessError(MigrateError):
    exit_code = 7


class SourceError(AccessError):
    """The source is unreachable or cannot be read."""


class DamagedSourceError(SourceError):
    """A dump is truncated or corrupt, in `file` at `offset` (bytes, uncompressed)."""

    def __init__(self, message: str, *, file: str, offset: int, hint: str = "") -> None:
        super().__init__(f"{file}, byte {offset}: {message}", hint)
        self.file = file
        self.offset = offset


class TargetError(AccessError):
    """The target is unreachable, or lacks something that the migration needs."""


class EmbeddingError(AccessError):
    """The embedding service is unreachable, denies access, or returns an unusable response."""


def _restore(kind: type[MigrateError], state: dict[str, Any]) -> MigrateError:
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    return error
