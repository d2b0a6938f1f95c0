"""Work of a source in the background, in daemon threads: they do not prevent the process from exiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def run_in_thread(act: Callable[[], T]) -> Future[T]:
    """Call `act` in a new daemon thread and return its future."""
    return run_in_order([act])[0]


def run_in_order(acts: Sequence[Callable[[], T]]) -> list[Future[T]]:
    """Call all of `acts` one after the other in one new daemon thread, and return their futures."""
    futures: list[Future[T]] = [Future() for _ in acts]

    def run_all() -> None:
        for act, future in zip(acts, futures, strict=True):
            try:
                future.set_result(act())
            except BaseException as error:  # noqa: BLE001 - raised again by the call of `result`
                future.set_exception(error)

    Thread(target=run_all, name="source", daemon=True).start()
    return futures
