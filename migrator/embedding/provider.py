"""The interface of an embedding provider and its results. Not here: the providers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from migrator.documents.vectors import Vector

PROBE = "This is a test."  # the text of a request that checks whether the service works


@dataclass(frozen=True, slots=True)
class Failure:
    """A text that has no vector. `why` is a message for users and contains nothing of the text."""

    why: str


@dataclass(frozen=True, slots=True)
class Success:
    """The vector of a text. `pieces`: the number of pieces that a text over the model's limit was split into, or 1."""

    vector: Vector
    pieces: int = 1


Result = Success | Failure


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """One result per text, in the order of the texts, and the number of billed tokens."""

    results: list[Result]
    tokens: int


class Provider(Protocol):
    """Computes vectors. `model`, `dimensions` and the text determine a vector.

    Callers pass at most `batch` texts per call of `embed` and make at most `concurrency` calls at the same time.
    """

    model: str
    dimensions: int
    batch: int
    concurrency: int

    async def embed(self, texts: Sequence[str]) -> EmbeddingResult:
        """Embed texts, with retries until each text has a result.

        Raises: `EmbeddingError` if the service is unavailable or unusable.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
