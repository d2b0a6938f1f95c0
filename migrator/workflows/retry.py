"""Retries transient failures: a lost connection, a restarted server, a killed worker.

A run can be resumed at any point, so the entire run is retried, never a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import psycopg
from psycopg import errors
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from migrator.embedding import vector_store
from migrator.errors import LockedError, MigrateError, TargetError
from migrator.events import Emit, Notice
from migrator.postgres.errors import is_connection_lost, translate_error
from migrator.state import journal
from migrator.state.records import Namespace, has_records
from migrator.targets.base import Target

T = TypeVar("T")
MAX_ATTEMPTS = 10  # consecutive attempts without progress; about three minutes with the pauses between them


def is_transient(error: BaseException) -> bool:
    """Return whether a retry can succeed."""
    if isinstance(error, MigrateError):
        return error.transient
    if isinstance(error, errors.TooManyConnections):
        return True
    return is_connection_lost(error)


def retry_transient(act: Callable[[int], T], progress_marker: Callable[[], object], emit: Emit) -> T:
    """Call `act(attempt number)` until it succeeds, and return its result.

    The value of `progress_marker()` changes with every progress (None: unknown). After progress, the attempts are
    counted from 0 again.

    Raises: the error of `act` if it is not transient, or after `MAX_ATTEMPTS` consecutive attempts without progress.
    """
    attempts, before = 0, progress_marker()

    def attempt() -> T:
        nonlocal attempts, before
        attempts += 1
        return act(attempts)

    def can_retry(error: BaseException) -> bool:
        # After a lost connection, the server needs some time to end the old session and release its lock.
        return is_transient(error) or (attempts > 1 and isinstance(error, LockedError))

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        pause = state.next_action.sleep if state.next_action else 0
        emit(Notice(text=f"{describe(error)}; retrying in {pause:.0f} s", level="warning"))

    while True:
        retrying = Retrying(
            retry=retry_if_exception(can_retry), stop=stop_after_attempt(MAX_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.5, max=30), before_sleep=report, reraise=True,
        )  # fmt: skip
        try:
            return retrying(attempt)
        except (MigrateError, psycopg.Error) as error:
            now = progress_marker()
            if not can_retry(error) or now is None or now == before:
                raise
            before = now


def describe(error: BaseException | None) -> str:
    """Return one line about an error."""
    known = translate_error(error) if isinstance(error, psycopg.Error) else error
    return known.message if isinstance(known, MigrateError) else str(error)


def count_entries(target: Target, namespace: Namespace) -> int | None:
    """Return the number of journal entries and cached vectors, which shows progress; None if it is unknown."""
    try:
        with closing(target.connect()) as connection:
            if not has_records(connection, namespace):
                return 0
            return journal.count_entries(connection, namespace) + vector_store.count_cached(connection, namespace)
    except (TargetError, psycopg.Error):
        return None
