"""Limits the number of concurrent requests, and adapts the limit to the service (AIMD, RFC 5681)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

DECREASE = 0.7  # factor of the limit after a rejected request
MIN_LIMIT = 1.0


class AdaptiveLimiter:
    """A semaphore whose size is adapted: a rejected request multiplies it by `DECREASE`, a success increases it a bit.

    Requests that were sent before a rejection may be rejected for the same reason, so only the first of them counts.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = self.limit = float(maximum)
        self._running = 0
        self._sent = 0
        self._sent_at_decrease = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait until a request may be sent. Yields the number of the request, for `back_off`."""
        while self._running >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._running += 1
        self._sent += 1
        try:
            yield self._sent
        finally:
            self._running -= 1
            self._wake()

    def increase(self) -> None:
        """Increase the limit by one per `limit` successful requests."""
        self.limit = min(self.maximum, self.limit + 1 / self.limit)
        self._wake()

    def back_off(self, number: int) -> None:
        """Decrease the limit because the service rejected request `number` as one too many."""
        if number > self._sent_at_decrease:
            self.limit = max(MIN_LIMIT, self.limit * DECREASE)
            self._sent_at_decrease = self._sent

    def _wake(self) -> None:
        free = int(self.limit) - self._running
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():  # the waiting task may have been cancelled
                turn.set_result(None)
                free -= 1
