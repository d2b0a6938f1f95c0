"""How many tokens a text may have, which texts go into one request, and what is done with a text that is too long.

No tokenizer ships its vocabulary for the models in question (tiktoken fetches it), so tokens are estimated. What counts
in the end is what the service says: a request that it refuses is halved (openai_provider.py).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

from migrator.embedding.provider import Vector

# Against cl100k_base the two give, of what it counts: English prose 1.08 to 1.12, German 1.05, Chinese 1.05, Japanese
# 1.17, Russian 1.89, Hindi 0.94, Arabic 0.90, long numbers 0.71, base64 0.40 (one text of each).
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
