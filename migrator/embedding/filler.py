"""Sends the texts of rows without a vector to the embedding service and writes the vectors, with several requests at
once.

Every text is sent once: rows with equal texts share one response, and a response is stored in the cache in the same
transaction as its rows. If the process is killed, at most the requests in progress are lost: `WINDOW` times as many as
the service may have at once. One thread accesses PostgreSQL, while the event loop accesses the service.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from migrator.documents.vectors import Vector
from migrator.embedding.batching import batch_texts
from migrator.embedding.provider import EmbeddingResult, Failure, Provider, Success
from migrator.embedding.vector_store import EMPTY, FAILED, SPLIT, PendingRow, RowDigest, VectorStore
from migrator.events import Emit, StepAdvanced

STEP = "embed"
WINDOW = 2  # requests that are sent or being written, as a multiple of those that the service may have at once
PAGE = 2000  # rows per read


@dataclass(slots=True)
class Text:
    """A text to embed, and the rows that contain it."""

    digest: bytes
    text: str
    rows: list[PendingRow] = field(default_factory=list)


Request = list[Text]


@dataclass(slots=True)
class FillCounts:
    """The number of rows that got a vector, failed, or have an empty text; the tokens and requests used."""

    filled: int = 0
    failed: int = 0
    empty: int = 0
    tokens: int = 0
    requests: int = 0


def format_cost(tokens: int, usd: float | None) -> str:
    return f"{tokens:,} tokens" + (f", ${usd:,.4f}" if usd else "")


class EmbeddingFiller:
    """Fills the vectors of one store. `cost` returns US dollars for tokens, None if the price is unknown."""

    def __init__(self, provider: Provider, store: VectorStore, cost: Callable[[int], float | None], emit: Emit) -> None:
        self._provider, self._store, self._cost, self._emit = provider, store, cost, emit
        self._after: str | None = None  # the ID of the last row read
        self._exhausted = False
        self._pending: deque[Text] = deque()  # not sent yet
        self._open: dict[bytes, Text] = {}  # not sent, sent, or answered and not being written yet
        self._counts = FillCounts()
        self._sent: dict[asyncio.Task[EmbeddingResult], Request] = {}
        self._responses: list[tuple[Request, EmbeddingResult]] = []
        self._writing: asyncio.Future[FillCounts] | None = None
        self._in_progress = 0  # requests that are sent, answered or being written
        self._error: BaseException | None = None
        self._postgres = ThreadPoolExecutor(1, thread_name_prefix="embed")

    async def fill(self) -> FillCounts:
        """Fill all missing vectors and return the counts. Raises: the errors of the provider and of the store."""
        try:
            await self._work()
        finally:
            self._postgres.shutdown()
            await self._provider.close()
        return self._counts

    async def _work(self) -> None:
        """Send and write until nothing is left. Every response is written, also after an error or Ctrl-C."""
        try:
            while self._error is None and await self._send_requests() | self._start_write():
                await self._wait()
            while self._sent or self._start_write():  # after an error: requests in progress can still succeed
                await self._wait()
        finally:
            self._collect_responses()
            for task in self._sent:
                task.cancel()
            await asyncio.gather(*self._sent, return_exceptions=True)
            while self._start_write():
                self._count(await self._finish_write())
        if self._error is not None:
            raise self._error

    async def _send_requests(self) -> bool:
        """Send as many requests as allowed; return whether any are in progress."""
        most = WINDOW * self._provider.concurrency
        while self._in_progress < most and (request := await self._next_request()):
            task = asyncio.create_task(self._provider.embed([each.text for each in request]))
            self._sent[task] = request
            self._in_progress += 1
        return bool(self._sent)

    def _start_write(self) -> bool:
        """Start to write all responses unless a write is running; return whether one is running."""
        if self._responses and self._writing is None:
            self._writing = self._write(self._responses)
            self._responses = []
        return self._writing is not None

    async def _wait(self) -> None:
        """Wait until a response arrives or a write ends."""
        waiting: set[asyncio.Future[Any]] = {*self._sent}
        if self._writing is not None:
            waiting.add(self._writing)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._writing is not None and self._writing.done():
            self._count(await self._finish_write())
        self._collect_responses()

    def _collect_responses(self) -> None:
        for task in [task for task in self._sent if task.done()]:
            request = self._sent.pop(task)
            error = task.exception()
            if error is None:
                self._responses.append((request, task.result()))
            else:
                self._in_progress -= 1
                self._error = self._error or error

    async def _finish_write(self) -> FillCounts:
        """Wait for the running write and return its counts."""
        assert self._writing is not None  # checked by the callers
        written = await self._writing
        self._writing = None
        self._in_progress -= written.requests
        return written

    async def _next_request(self) -> Request:
        """Return the texts of one request; an empty list if none are left."""
        while len(self._pending) < self._provider.batch and not self._exhausted:
            await self._read_page()
        if not self._pending:
            return []
        candidates = [each.text for each in islice(self._pending, self._provider.batch)]
        size = len(next(batch_texts(candidates, self._provider.batch)))
        return [self._pending.popleft() for _ in range(size)]

    async def _read_page(self) -> None:
        page, counts = await self._in_thread(self._read)
        self._count(counts)
        for row, digest in page:
            text = self._open.get(digest)
            if text is None:
                text = self._open[digest] = Text(digest, row.text)
                self._pending.append(text)
            text.rows.append(row)

    def _read(self) -> tuple[list[tuple[PendingRow, bytes]], FillCounts]:
        """Read the next rows. Return those whose text is not in the cache, with its digest, and the counts of
        others."""
        page = self._store.read_pending(self._after, PAGE)
        if not page:
            self._exhausted = True
            return [], FillCounts()
        self._after = page[-1].id
        digested = [(row, hashlib.sha256(row.text.encode()).digest()) for row in page if row.text.strip()]
        empty = [row for row in page if not row.text.strip()]
        known = self._store.find_cached({digest for _, digest in digested})
        with self._store.transaction():
            filled = self._store.fill_rows([RowDigest(row.id, digest) for row, digest in digested if digest in known])
            self._store.add_findings((row.source_id, EMPTY, "") for row in empty)
        return [each for each in digested if each[1] not in known], FillCounts(filled=filled, empty=len(empty))

    def _write(self, responses: Sequence[tuple[Request, EmbeddingResult]]) -> asyncio.Future[FillCounts]:
        """Write responses in the thread. Rows read later find the texts in the cache, because reads come after it."""
        for request, _ in responses:
            for each in request:
                del self._open[each.digest]
        return asyncio.ensure_future(self._in_thread(lambda: self._write_now(responses)))

    def _write_now(self, responses: Sequence[tuple[Request, EmbeddingResult]]) -> FillCounts:
        counts = FillCounts(tokens=sum(response.tokens for _, response in responses), requests=len(responses))
        vectors: list[tuple[bytes, Vector]] = []
        fillings: list[RowDigest] = []
        findings: list[tuple[bytes, str, str]] = []
        for request, response in responses:
            for text, result in zip(request, response.results, strict=True):
                if isinstance(result, Failure):
                    counts.failed += len(text.rows)
                    findings += [(row.source_id, FAILED, result.why) for row in text.rows]
                else:
                    vectors.append((text.digest, result.vector))
                    fillings += [RowDigest(row.id, text.digest) for row in text.rows]
                    findings += _split_findings(text, result)
        with self._store.transaction():
            self._store.add_vectors(vectors, counts.tokens)
            counts.filled = self._store.fill_rows(fillings)
            self._store.add_findings(findings)
        return counts

    def _count(self, new: FillCounts) -> None:
        total = self._counts
        total.filled += new.filled
        total.failed += new.failed
        total.empty += new.empty
        total.tokens += new.tokens
        note = format_cost(total.tokens, self._cost(total.tokens))
        self._emit(StepAdvanced(step=STEP, done=total.filled + total.failed + total.empty, note=note))

    async def _in_thread(self, act: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._postgres, act)


def _split_findings(text: Text, result: Success) -> list[tuple[bytes, str, str]]:
    if result.pieces == 1:
        return []
    return [(row.source_id, SPLIT, f"{result.pieces} pieces") for row in text.rows]
