"""How many tokens a text may have, which texts go into one request, and what is done with a text that is too long.

No tokenizer ships its vocabulary for the models in question (tiktoken fetches it), so tokens are estimated. What counts
in the end is what the service says: a request that it refuses is halved (openai_provider.py).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

from migrator.embedding.provider import Vector

# Measured against cl100k_base: an English or German text has 3.4 to 4.2 characters a token; what UTF-8 needs beyond a
# byte a character costs up to 0.4 tokens a byte (Chinese 0.36, Arabic 0.37, Hindi 0.31, Russian 0.03).
CHARACTERS_A_TOKEN = 3.5
TOKENS_A_BYTE_BEYOND = 0.4
REQUEST_TOKENS = 200_000  # of one request; OpenAI refuses more than 300,000


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has; the same arithmetic as `ESTIMATE`, which is for SQL."""
    beyond = 0 if text.isascii() else len(text.encode()) - len(text)
    return math.ceil(len(text) / CHARACTERS_A_TOKEN + beyond * TOKENS_A_BYTE_BEYOND)


def pack(texts: Sequence[str], batch: int, tokens: int = REQUEST_TOKENS) -> Iterator[list[int]]:
    """The places of texts that go into one request each: at most `batch` of them, of about `tokens` together."""
    request: list[int] = []
    size = 0
    for place, text in enumerate(texts):
        estimate = estimate_tokens(text)
        if request and (len(request) == batch or size + estimate > tokens):
            yield request
            request, size = [], 0
        request.append(place)
        size += estimate
    if request:
        yield request


def cut(text: str, limit: int) -> list[str]:
    """A text in as few pieces as have about `limit` tokens each, of about the same length, cut at blanks if possible.

    The pieces together are the text: nothing is left out.
    """
    count = math.ceil(estimate_tokens(text) / limit)
    return halve(text, count) if count > 1 else [text]


def halve(text: str, count: int = 2) -> list[str]:
    """A text in `count` pieces (fewer where it is too short), each about as long."""
    pieces, rest = [], text
    for left in range(count, 1, -1):
        wanted = math.ceil(len(rest) / left)
        blank = rest.rfind(" ", wanted // 2 + 1, wanted + 1)
        end = blank if blank > 0 else wanted
        pieces.append(rest[:end])
        rest = rest[end:]
    return [piece for piece in [*pieces, rest] if piece]


def mean(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """The weighted mean of the vectors of a text's pieces, of length 1; all zeros where they cancel each other out."""
    total = [sum(map(float.__mul__, column, weights)) for column in zip(*vectors, strict=True)]
    norm = math.hypot(*total)
    return array("f", [value / norm for value in total] if norm else total)
