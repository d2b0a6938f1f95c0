"""How many requests may be under way: as many as configured, fewer while the service refuses some of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLOWER = 0.7  # of the limit is left after a refusal
FEWEST = 1.0


class AdaptiveLimiter:
    """A semaphore whose size follows the service: a refusal takes three tenths of it, every success gives a bit back.

    What was sent before a refusal may be refused for the same reason; only the first of them slows down.
    """

    def __init__(self, most: int) -> None:
        self.most = self.limit = float(most)
        self._running = 0
        self._sent = 0
        self._slowed_at = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Waits for a free place. Yields the number of the request, for `slow_down`."""
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

    def speed_up(self) -> None:
        self.limit = min(self.most, self.limit + 1 / self.limit)
        self._wake()

    def back_off(self, number: int) -> None:
        """Request `number` was refused because there were too many."""
        if number > self._slowed_at:
            self.limit = max(FEWEST, self.limit * SLOWER)
            self._slowed_at = self._sent

    def _wake(self) -> None:
        free = int(self.limit) - self._running
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():  # who waited may be cancelled
                turn.set_result(None)
                free -= 1
