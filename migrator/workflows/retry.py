"""Trying again what failed for a reason that passes: a lost connection, a server that starts again, a killed worker.

A run can be begun again at any moment, so it is the whole of it that is tried again, never a piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg import errors
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from migrator.errors import LockedError, MigrateError
from migrator.events import Emit, Notice
from migrator.postgres.errors import is_connection_lost, translate_error

T = TypeVar("T")
MAX_ATTEMPTS = 10  # tries in a row without progress; with the pauses between them some three minutes


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed in a moment."""
    if isinstance(error, MigrateError):
        return error.transient
    if isinstance(error, errors.TooManyConnections):
        return True
    return is_connection_lost(error)


def retry_transient(act: Callable[[int], T], progress: Callable[[], object], emit: Emit) -> T:
    """`act(number of the try)` until it succeeds, or fails for a reason that lasts, or `MAX_ATTEMPTS` times in a row.

    `progress()` is a value that changes when something has been achieved (None: cannot be told); then the counting
    begins anew.
    """
    tries, before = 0, progress()

    def counted() -> T:
        nonlocal tries, before
        tries += 1
        return act(tries)

    def worth(error: BaseException) -> bool:
        # A server takes a while to notice that a session of ours is gone, and with it the lock.
        return is_transient(error) or (tries > 1 and isinstance(error, LockedError))

    def say(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0
        emit(Notice(text=f"{describe(error)}; trying again in {pause:.0f} s", level="warning"))

    while True:
        retrying = Retrying(
            retry=retry_if_exception(worth), stop=stop_after_attempt(MAX_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.5, max=30), before_sleep=say, reraise=True,
        )  # fmt: skip
        try:
            return retrying(counted)
        except (MigrateError, psycopg.Error) as error:
            now = progress()
            if not worth(error) or now is None or now == before:
                raise
            before = now


def describe(error: BaseException | None) -> str:
    """One line on what happened."""
    known = translate_error(error) if isinstance(error, psycopg.Error) else error
    return known.message if isinstance(known, MigrateError) else str(error)
