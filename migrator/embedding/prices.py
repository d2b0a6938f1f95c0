"""What tokens cost."""

from __future__ import annotations

from collections.abc import Mapping

from migrator.config.models import EmbeddingConfig

# OpenAI's list prices in US dollars for a million tokens, as of 2025; `usd_per_million` says what is true now.
PRICES: Mapping[str, float] = {
    "text-embedding-3-small": 0.02,
    "text-embedding-3-large": 0.13,
    "text-embedding-ada-002": 0.10,
}


def price_of(settings: EmbeddingConfig) -> float | None:
    """US dollars for a million tokens; None where nobody has said."""
    if settings.provider != "openai":
        return 0.0
    if settings.usd_per_million is not None:
        return settings.usd_per_million
    return PRICES.get(settings.model)


def cost_of(settings: EmbeddingConfig, tokens: int) -> float | None:
    """US dollars, to six places."""
    price = price_of(settings)
    return None if price is None else round(tokens * price / 1_000_000, 6)
