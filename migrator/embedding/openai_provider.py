"""Embeddings from an OpenAI-compatible endpoint: every text gets its vector, or a reason of its own why it has none.

What is wrong with a request is narrowed down to the text it comes from: vectors that are no good are asked for again, a
request that is refused is halved, and a text that is refused alone is embedded in pieces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from migrator.config.models import EmbeddingConfig
from migrator.embedding.batching import cut, estimate_tokens, halve, mean, pack
from migrator.embedding.openai_client import Client, RejectedError
from migrator.embedding.provider import EmbeddingResult, Failure, Result, Success, Vector
from migrator.embedding.responses import check_vector, read_answer
from migrator.errors import EmbeddingError

ROUNDS = 8  # so often is a text asked for whose vector is no good,
TOGETHER = 3  # and so often with others
USELESS = 4  # answers without one good vector, before any was good
SHORTEST = 200  # characters; whoever refuses less does not refuse the length
PROBE = "Is this thing on?"


class OpenAIProvider:
    def __init__(self, settings: EmbeddingConfig, notify: Callable[[str], None]) -> None:
        self.model, self.dimensions = settings.model, settings.dimensions
        self.batch, self.concurrency = settings.batch, settings.concurrency
        self.limit = settings.input_tokens
        self.client = Client(settings, notify)
        self._useless = 0

    async def close(self) -> None:
        await self.client.close()

    async def embed(self, texts: Sequence[str]) -> EmbeddingResult:
        """Errors: `EmbeddingError` where the service is gone or no good at all."""
        return await Call(self).embed(texts)

    def judge(self, found: Sequence[Vector | str]) -> None:
        """Learns from an answer whether the service is any good. Raises `EmbeddingError` when it clearly is not."""
        if any(not isinstance(each, str) for each in found):
            self.client.proven = time.monotonic()
        elif self.client.proven is None:
            self._useless += 1
            if self._useless >= USELESS:
                raise EmbeddingError(
                    f"{self.client.label} answers, but with nothing usable: {found[0]}",
                    hint="Check embedding.model, dimensions and base_url.",
                )

    async def probe(self) -> None:
        """Tells a text that is refused from settings that are. Raises `EmbeddingError` for the latter."""
        if self.client.proven is None:
            try:
                reply = await self.client.request([PROBE])
            except RejectedError as refused:
                raise EmbeddingError(
                    f"{self.client.label} refuses every request: {refused.status} {refused.message}",
                    hint="Check embedding.model, dimensions and base_url.",
                ) from refused
            self.judge(read_answer(reply.entries, 1, self.dimensions))


class Call:
    """One call of `embed`, and what it costs."""

    def __init__(self, provider: OpenAIProvider) -> None:
        self._provider = provider
        self._tokens = 0

    async def embed(self, texts: Sequence[str]) -> EmbeddingResult:
        pieces = [cut(text, self._provider.limit) for text in texts]
        whole = [place for place, each in enumerate(pieces) if len(each) == 1]
        found = dict(zip(whole, await self._settle([texts[place] for place in whole]), strict=True))
        for place, each in enumerate(pieces):
            if len(each) > 1:
                found[place] = await self._join(each)
        return EmbeddingResult([found[place] for place in range(len(texts))], self._tokens)

    async def _settle(self, texts: Sequence[str]) -> list[Result]:
        """Asks until every text has a vector that is good, or has been asked for often enough."""
        found: dict[int, Result] = {}
        for number in range(1, ROUNDS + 1):
            left = [place for place in range(len(texts)) if place not in found]
            for group in pack([texts[place] for place in left], self._provider.batch if number <= TOGETHER else 1):
                places = [left[each] for each in group]
                for place, each in zip(places, await self._ask([texts[place] for place in places]), strict=True):
                    if not isinstance(each, str):
                        found[place] = each
                    elif number == ROUNDS:
                        found[place] = Failure(each)
            if len(found) == len(texts):
                break
        return [found[place] for place in range(len(texts))]

    async def _ask(self, texts: Sequence[str]) -> list[Result | str]:
        """One request; a str says what is wrong with a vector that may be right another time."""
        try:
            reply = await self._provider.client.request(texts)
        except RejectedError as refused:
            return await self._narrow(texts, refused)
        self._tokens += sum(map(estimate_tokens, texts)) if reply.tokens is None else reply.tokens
        found = read_answer(reply.entries, len(texts), self._provider.dimensions)
        self._provider.judge(found)
        return [each if isinstance(each, str) else Success(each) for each in found]

    async def _narrow(self, texts: Sequence[str], refused: RejectedError) -> list[Result | str]:
        """What comes of texts whose request is refused."""
        await self._provider.probe()
        if len(texts) > 1:
            middle = len(texts) // 2
            return [*await self._ask(texts[:middle]), *await self._ask(texts[middle:])]
        if len(texts[0]) < SHORTEST or refused.status >= 500:
            return [Failure(refused.why)]
        return [await self._join(halve(texts[0]))]

    async def _join(self, pieces: Sequence[str]) -> Result:
        """A text's vector from those of its pieces: their mean, weighted by their length."""
        results = await self._settle(pieces)
        failure = next((each for each in results if isinstance(each, Failure)), None)
        if failure is not None:
            return failure
        embedded = [each for each in results if isinstance(each, Success)]
        vector = mean([each.vector for each in embedded], [float(len(piece)) for piece in pieces])
        checked = check_vector(vector, self._provider.dimensions)
        return Failure(checked) if isinstance(checked, str) else Success(checked, sum(e.pieces for e in embedded))
