"""Computes embeddings with an OpenAI-compatible endpoint. Every text gets a vector or its own failure message.

Errors are narrowed down to single texts: invalid vectors are requested again, a rejected request is split in half, and
a text that is rejected alone is embedded in pieces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from migrator.config.models import EmbeddingConfig
from migrator.documents.vectors import Vector, check_vector
from migrator.embedding.batching import batch_texts, estimate_tokens, mean_vector, split_evenly, split_text
from migrator.embedding.openai_client import Client
from migrator.embedding.openai_errors import TOO_LARGE, RejectedError
from migrator.embedding.provider import EmbeddingResult, Failure, Result, Success

MAX_ROUNDS = 8  # requests for a text whose vector is invalid
BATCH_ROUNDS = 3  # of these, requests together with other texts
MAX_UNUSABLE = 4  # responses without a valid vector, before the first valid one
MIN_SPLIT = 200  # characters; if a shorter text is rejected, its length is not the reason


class OpenAIProvider:
    """Embeds texts with the configured endpoint."""

    def __init__(self, settings: EmbeddingConfig, notify: Callable[[str], None]) -> None:
        self.model, self.dimensions = settings.model, settings.dimensions
        self.batch, self.concurrency = settings.batch, settings.concurrency
        self.limit = settings.input_tokens
        self.client = Client(settings, notify)
        self._unusable = 0

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def embed(self, texts: Sequence[str]) -> EmbeddingResult:
        """Embed texts.

        Raises: `EmbeddingError` if the service is unavailable or unusable.
        """
        return await Call(self).embed(texts)

    async def record_response(self, found: Sequence[Vector | str]) -> None:
        """Record whether a response contains a valid vector.

        Raises: `EmbeddingError` if several responses, and none before them, contain any, and that of a short text
        neither.
        """
        if any(not isinstance(each, str) for each in found):
            self.client.last_success = time.monotonic()
        elif self.client.last_success is None:
            self._unusable += 1
            if self._unusable >= MAX_UNUSABLE:
                await self.client.negotiate(time.monotonic())

    def reduce_batch(self, size: int) -> None:
        """Send at most `size` texts per request from now on."""
        self.batch = min(self.batch, size)


class Call:
    """One call of `embed`: its requests and the tokens that they cost."""

    def __init__(self, provider: OpenAIProvider) -> None:
        self._provider = provider
        self._tokens = 0
        self._rejections = 0

    async def embed(self, texts: Sequence[str]) -> EmbeddingResult:
        """Embed texts; split those that are longer than the limit."""
        pieces = [split_text(text, self._provider.limit) for text in texts]
        whole = [place for place, each in enumerate(pieces) if len(each) == 1]
        found = dict(zip(whole, await self._embed_pieces([texts[place] for place in whole]), strict=True))
        for place, each in enumerate(pieces):
            if len(each) > 1:
                found[place] = await self._embed_split(each)
        return EmbeddingResult([found[place] for place in range(len(texts))], self._tokens)

    async def _embed_pieces(self, texts: Sequence[str]) -> list[Result]:
        """Send requests until every text has a valid vector or has been requested `MAX_ROUNDS` times."""
        found: dict[int, Result] = {}
        for number in range(1, MAX_ROUNDS + 1):
            left = [place for place in range(len(texts)) if place not in found]
            size = self._provider.batch if number <= BATCH_ROUNDS else 1
            for group in batch_texts([texts[place] for place in left], size):
                places = [left[each] for each in group]
                for place, each in zip(places, await self._request([texts[place] for place in places]), strict=True):
                    if not isinstance(each, str):
                        found[place] = each
                    elif number == MAX_ROUNDS:
                        found[place] = Failure(each)
            if len(found) == len(texts):
                break
        return [found[place] for place in range(len(texts))]

    async def _request(self, texts: Sequence[str]) -> list[Result | str]:
        """Send one request. A str says what is wrong with a vector that may be valid in the next response."""
        try:
            reply = await self._provider.client.request(texts)
        except RejectedError as error:
            self._rejections += 1
            return await self._narrow(texts, error)
        self._tokens += sum(map(estimate_tokens, texts)) if reply.tokens is None else reply.tokens
        found = reply.read(len(texts), self._provider.dimensions)
        await self._provider.record_response(found)
        return [each if isinstance(each, str) else Success(each) for each in found]

    async def _narrow(self, texts: Sequence[str], rejected: RejectedError) -> list[Result | str]:
        """Find the text that causes the rejection of a request, and embed the others."""
        if len(texts) > 1:
            return await self._halve(texts, rejected)
        if len(texts[0]) < MIN_SPLIT or rejected.status not in TOO_LARGE:
            return [Failure(rejected.why)]
        return [await self._embed_split(split_evenly(texts[0]))]

    async def _halve(self, texts: Sequence[str], rejected: RejectedError) -> list[Result | str]:
        """Embed the two halves of a rejected request. If both are accepted, later requests are that small."""
        rejections, middle = self._rejections, (len(texts) + 1) // 2
        found = [*await self._request(texts[:middle]), *await self._request(texts[middle:])]
        if rejected.status in TOO_LARGE and self._rejections == rejections:
            self._provider.reduce_batch(middle)
        return found

    async def _embed_split(self, pieces: Sequence[str]) -> Result:
        """Embed a text in pieces: the mean of their vectors, weighted by their lengths."""
        results = await self._embed_pieces(pieces)
        failure = next((each for each in results if isinstance(each, Failure)), None)
        if failure is not None:
            return failure
        embedded = [each for each in results if isinstance(each, Success)]
        vector = mean_vector([each.vector for each in embedded], [float(len(piece)) for piece in pieces])
        checked = check_vector(vector, self._provider.dimensions)
        return Failure(checked) if isinstance(checked, str) else Success(checked, sum(e.pieces for e in embedded))
