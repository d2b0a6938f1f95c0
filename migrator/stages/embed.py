"""Fills embeddings that are missing, several requests at once, and goes on wherever an earlier attempt was killed.

A text is asked for once: equal texts wait for the same answer, and what was answered is in the cache in the
transaction that gives it to its rows. What a kill can cost is what was under way: `WINDOW` times as many requests as
the service may have at once. One thread talks to PostgreSQL, page by page and answer by answer, while the event loop
talks to the service.
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

from migrator.config.models import EmbeddingConfig
from migrator.embedding import open_provider, vector_indexes, vector_store
from migrator.embedding.batching import batch_texts
from migrator.embedding.prices import cost_of
from migrator.embedding.provider import PROBE, EmbeddingResult, Failure, Provider, Success, Vector
from migrator.embedding.vector_store import EMPTY, FAILED, SPLIT, PendingRow, RowDigest, VectorStore
from migrator.errors import EmbeddingError
from migrator.events import Emit, Notice, StepAdvanced, StepFinished, StepStarted
from migrator.mapping.collection import VectorColumn
from migrator.state.records import Connection, Namespace

STEP = "embed"
WINDOW = 2  # requests asked or being written, as a multiple of those that the service may have at once
PAGE = 2000  # rows read at once


@dataclass(slots=True)
class Text:
    """A text that is asked for, and the rows that wait for it."""

    digest: bytes
    text: str
    rows: list[PendingRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReport:
    """What became of `chunks` rows without a vector: those not filled, failed or empty still wait for one.

    `tokens` and `usd` are what this call has paid; None: nobody knows the price.
    """

    chunks: int = 0
    filled: int = 0
    failed: int = 0
    empty: int = 0
    tokens: int = 0
    usd: float | None = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "chunks": self.chunks,
            "filled": self.filled,
            "failed": self.failed,
            "empty": self.empty,
            "tokens": self.tokens,
            "usd": self.usd,
        }


Request = list[Text]


@dataclass(slots=True)
class Written:
    """What an answer came to."""

    filled: int = 0
    failed: int = 0
    tokens: int = 0
    requests: int = 0


def embed(
    connection: Connection,
    namespace: Namespace,
    embedded: VectorColumn,
    settings: EmbeddingConfig,
    run: int,
    emit: Emit,
) -> EmbedReport:
    """Gives every row of `embedded` without a vector its own, as far as there is one.

    Errors: `EmbeddingError` where the service is gone or refuses us; `UsageError` where it is not the one whose vectors
    are there already. What was done is kept.
    """
    missing = vector_store.count_missing(connection, namespace, embedded)
    if not missing:
        return EmbedReport()
    provider = open_provider(settings, lambda text: emit(Notice(text=text, level="warning")))
    if provider is None:
        emit(Notice(text=f"{missing:,} chunks get no embedding: the provider is none. `migrate embed` fills them."))
        return EmbedReport(chunks=missing)
    store = VectorStore(connection, namespace, embedded, provider.model, provider.dimensions)
    store.prepare(run)
    vector_indexes.mark_stale(
        connection, namespace, stale=bool(vector_indexes.find_indexes(connection, namespace, embedded))
    )
    emit(StepStarted(step=STEP, total=missing, unit="chunks"))
    filler = Filler(provider, store, lambda tokens: cost_of(settings, tokens), emit)
    report = asyncio.run(filler.fill(missing))
    emit(StepFinished(step=STEP, note=describe(report.filled, report.tokens, report.usd)))
    if report.failed:
        emit(
            Notice(
                text=f"{report.failed:,} chunks have no embedding: see the findings {FAILED}."
                " `migrate embed` tries again.",
                level="warning",
            )
        )
    return report


def check_provider(embedded: VectorColumn, settings: EmbeddingConfig, *, ask: bool) -> None:
    """Whether embeddings can be had, as far as can be told beforehand; with `ask`, one short text is sent.

    Errors: `UsageError` for settings that cannot work, `EmbeddingError` where the service cannot be used.
    """
    provider = open_provider(settings, lambda text: None)
    if provider is None:
        return
    vector_store.check_width(embedded, provider.model, provider.dimensions)

    async def probe() -> None:
        try:
            result = (await provider.embed([PROBE])).results[0] if ask else None
        finally:
            await provider.close()
        if isinstance(result, Failure):
            raise EmbeddingError(
                f"the embedding service answers nothing usable: {result.why}", hint="Check [embedding]."
            )

    asyncio.run(probe())


def describe(filled: int, tokens: int, usd: float | None) -> str:
    return f"{filled:,} chunks, {spell_cost(tokens, usd)}"


def spell_cost(tokens: int, usd: float | None) -> str:
    return f"{tokens:,} tokens" + (f", ${usd:,.4f}" if usd else "")


class Filler:
    """The work of one process. `cost` gives US dollars for tokens, None where nobody knows."""

    def __init__(self, provider: Provider, store: VectorStore, cost: Callable[[int], float | None], emit: Emit) -> None:
        self._provider, self._store, self._cost, self._emit = provider, store, cost, emit
        self._after: str | None = None
        self._exhausted = False
        self._pending: deque[Text] = deque()  # not asked for yet
        self._open: dict[bytes, Text] = {}  # pending, asked for, or answered and not being written yet
        self._done = Written()
        self._empty = 0
        self._asking: dict[asyncio.Task[EmbeddingResult], Request] = {}
        self._answered: list[tuple[Request, EmbeddingResult]] = []
        self._writing: asyncio.Future[Written] | None = None
        self._under_way = 0  # requests asked, answered or being written
        self._error: BaseException | None = None
        self._postgres = ThreadPoolExecutor(1, thread_name_prefix="embed")

    async def fill(self, missing: int) -> EmbedReport:
        try:
            await self._work()
        finally:
            self._postgres.shutdown()
            await self._provider.close()
        done = self._done
        return EmbedReport(
            chunks=missing, filled=done.filled, failed=done.failed, empty=self._empty,
            tokens=done.tokens, usd=self._cost(done.tokens),
        )  # fmt: skip

    async def _work(self) -> None:
        """What is paid for is written, however this ends: with an error of the service, or with Ctrl-C."""
        try:
            while self._error is None and await self._ask_more() | self._write_more():
                await self._wait()
            while self._asking or self._write_more():  # after an error: who is on the way may still arrive
                await self._wait()
        finally:
            self._take_answers()
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)
            while self._write_more():
                self._count(await self._collect())
        if self._error is not None:
            raise self._error

    async def _ask_more(self) -> bool:
        """As many requests as may be under way; returns whether any are."""
        most = WINDOW * self._provider.concurrency
        while self._under_way < most and (request := await self._next_request()):
            task = asyncio.create_task(self._provider.embed([each.text for each in request]))
            self._asking[task] = request
            self._under_way += 1
        return bool(self._asking)

    def _write_more(self) -> bool:
        """Everything that is answered, once what was before is written; returns whether anything is being written."""
        if self._answered and self._writing is None:
            self._writing = self._write(self._answered)
            self._answered = []
        return self._writing is not None

    async def _wait(self) -> None:
        """Until an answer comes or something is written."""
        waiting: set[asyncio.Future[Any]] = {*self._asking}
        if self._writing is not None:
            waiting.add(self._writing)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._writing is not None and self._writing.done():
            self._count(await self._collect())
        self._take_answers()

    def _take_answers(self) -> None:
        for task in [task for task in self._asking if task.done()]:
            request = self._asking.pop(task)
            error = task.exception()
            if error is None:
                self._answered.append((request, task.result()))
            else:
                self._under_way -= 1
                self._error = self._error or error

    async def _collect(self) -> Written:
        """What has been written; the way is free for more."""
        assert self._writing is not None  # who calls has looked
        written = await self._writing
        self._writing = None
        self._under_way -= written.requests
        return written

    async def _next_request(self) -> Request:
        """Texts for one request; empty where none are left."""
        while len(self._pending) < self._provider.batch and not self._exhausted:
            await self._read_page()
        if not self._pending:
            return []
        candidates = [each.text for each in islice(self._pending, self._provider.batch)]
        size = len(next(batch_texts(candidates, self._provider.batch)))
        return [self._pending.popleft() for _ in range(size)]

    async def _read_page(self) -> None:
        page, filled = await self._in_thread(self._read)
        self._count(Written(filled=filled))
        for row, digest in page:
            text = self._open.get(digest)
            if text is None:
                text = self._open[digest] = Text(digest, row.text)
                self._pending.append(text)
            text.rows.append(row)

    def _read(self) -> tuple[list[tuple[PendingRow, bytes]], int]:
        """The next rows that wait for an answer, with the digest of their text; and how many did not have to."""
        page = self._store.read_pending(self._after, PAGE)
        if not page:
            self._exhausted = True
            return [], 0
        self._after = page[-1].id
        digested = [(row, hashlib.sha256(row.text.encode()).digest()) for row in page if row.text.strip()]
        empty = [row for row in page if not row.text.strip()]
        known = self._store.find_cached({digest for _, digest in digested})
        with self._store.transaction():
            filled = self._store.fill_rows([RowDigest(row.id, digest) for row, digest in digested if digest in known])
            self._store.add_findings((row.source_id, EMPTY, "") for row in empty)
        self._empty += len(empty)
        return [each for each in digested if each[1] not in known], filled

    def _write(self, answered: Sequence[tuple[Request, EmbeddingResult]]) -> asyncio.Future[Written]:
        """From here on a row with one of these texts finds it in the cache: pages are read after this is written."""
        for request, _ in answered:
            for each in request:
                del self._open[each.digest]
        return asyncio.ensure_future(self._in_thread(lambda: self._write_now(answered)))

    def _write_now(self, answered: Sequence[tuple[Request, EmbeddingResult]]) -> Written:
        written = Written(tokens=sum(answer.tokens for _, answer in answered), requests=len(answered))
        found: list[tuple[bytes, Vector]] = []
        fillings: list[RowDigest] = []
        findings: list[tuple[bytes, str, str]] = []
        for request, answer in answered:
            for text, result in zip(request, answer.results, strict=True):
                if isinstance(result, Failure):
                    written.failed += len(text.rows)
                    findings += [(row.source_id, FAILED, result.why) for row in text.rows]
                else:
                    found.append((text.digest, result.vector))
                    fillings += [RowDigest(row.id, text.digest) for row in text.rows]
                    findings += _split_findings(text, result)
        with self._store.transaction():
            self._store.add_vectors(found, written.tokens)
            written.filled = self._store.fill_rows(fillings)
            self._store.add_findings(findings)
        return written

    def _count(self, written: Written) -> None:
        done = self._done
        done.filled += written.filled
        done.failed += written.failed
        done.tokens += written.tokens
        note = spell_cost(done.tokens, self._cost(done.tokens))
        self._emit(StepAdvanced(step=STEP, done=done.filled + done.failed + self._empty, note=note))

    async def _in_thread(self, act: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._postgres, act)


def _split_findings(text: Text, result: Success) -> list[tuple[bytes, str, str]]:
    if result.pieces == 1:
        return []
    return [(row.source_id, SPLIT, f"{result.pieces} pieces") for row in text.rows]
