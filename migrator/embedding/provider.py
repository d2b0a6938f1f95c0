"""What a provider of embeddings is, and what it answers. No provider is known here."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Vector: TypeAlias = "array[float]"  # of type 'f': four bytes a number, as pgvector keeps them


@dataclass(frozen=True, slots=True)
class Failure:
    """A text without a vector, for good. `why` is for people and holds nothing of the text."""

    why: str


@dataclass(frozen=True, slots=True)
class Success:
    """A text's vector. `pieces` is 1, or how many pieces a text over the model's limit was embedded in."""

    vector: Vector
    pieces: int = 1


Result = Success | Failure


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """One result for each text, in their order, and the tokens that were paid for them."""

    results: list[Result]
    tokens: int


class Provider(Protocol):
    """Computes vectors. `model` and `dimensions` name what they are: with the text they decide the vector.

    `batch` texts at most go into one call of `embed`, `concurrency` calls at most are under way at once.
    """

    model: str
    dimensions: int
    batch: int
    concurrency: int

    async def embed(self, texts: Sequence[str]) -> EmbeddingResult:
        """Perseveres until each text has its result. Errors: `AccessError` where that makes no sense any more."""
        ...

    async def close(self) -> None: ...
