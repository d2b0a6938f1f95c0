"""Token estimates, batches of texts for one request, and splitting of texts that are too long.

Tokens are estimated because no tokenizer ships the vocabulary of these models (tiktoken downloads it). The service has
the final word: a request that it rejects is split in half (`openai_provider`).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

from migrator.documents.vectors import Vector

# Estimate divided by the number of cl100k_base tokens, measured on one text each: English prose 1.08 to 1.12, German
# 1.05, Chinese 1.05, Japanese 1.17, Russian 1.89, Hindi 0.94, Arabic 0.90, long numbers 0.71, base64 0.40.
CHARACTERS_PER_TOKEN = 3.5
TOKENS_PER_EXTRA_BYTE = 0.4  # UTF-8 bytes beyond one per character
REQUEST_TOKENS = 200_000  # per request; OpenAI rejects more than 300,000


def estimate_tokens(text: str) -> int:
    """Return the approximate number of tokens of a text. `vector_store.forecast` uses the same formula in SQL."""
    extra = 0 if text.isascii() else len(text.encode()) - len(text)
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN + extra * TOKENS_PER_EXTRA_BYTE)


def batch_texts(texts: Sequence[str], size: int, tokens: int = REQUEST_TOKENS) -> Iterator[list[int]]:
    """Yield the indexes of the texts of each request: at most `size` texts with about `tokens` tokens in total."""
    request: list[int] = []
    total = 0
    for place, text in enumerate(texts):
        estimate = estimate_tokens(text)
        if request and (len(request) == size or total + estimate > tokens):
            yield request
            request, total = [], 0
        request.append(place)
        total += estimate
    if request:
        yield request


def split_text(text: str, limit: int) -> list[str]:
    """Split a text into the fewest pieces of about `limit` tokens each, similar in length, at spaces if possible.

    The concatenated pieces equal the text.
    """
    count = math.ceil(estimate_tokens(text) / limit)
    return split_evenly(text, count) if count > 1 else [text]


def split_evenly(text: str, count: int = 2) -> list[str]:
    """Split a text into `count` pieces of similar length, or fewer if the text is too short."""
    pieces, rest = [], text
    for left in range(count, 1, -1):
        wanted = math.ceil(len(rest) / left)
        space = rest.rfind(" ", wanted // 2 + 1, wanted + 1)
        end = space if space > 0 else wanted
        pieces.append(rest[:end])
        rest = rest[end:]
    return [piece for piece in [*pieces, rest] if piece]


def mean_vector(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Return the weighted mean of vectors, scaled to length 1; all zeros if the vectors cancel each other out."""
    total = [sum(map(float.__mul__, column, weights)) for column in zip(*vectors, strict=True)]
    norm = math.hypot(*total)
    return array("f", [value / norm for value in total] if norm else total)
