"""Prices of tokens."""

from __future__ import annotations

from collections.abc import Mapping

from migrator.config.models import EmbeddingConfig

# OpenAI's list prices of 2025 in US dollars per million tokens; the setting `usd_per_million` overrides them.
PRICES: Mapping[str, float] = {
    "text-embedding-3-small": 0.02,
    "text-embedding-3-large": 0.13,
    "text-embedding-ada-002": 0.10,
}


def price_of(settings: EmbeddingConfig) -> float | None:
    """Return the price in US dollars per million tokens; None if it is unknown."""
    if settings.provider != "openai":
        return 0.0
    if settings.usd_per_million is not None:
        return settings.usd_per_million
    return PRICES.get(settings.model)


def cost_of(settings: EmbeddingConfig, tokens: int) -> float | None:
    """Return the price of tokens in US dollars, rounded to six decimal places; None if it is unknown."""
    price = price_of(settings)
    return None if price is None else round(tokens * price / 1_000_000, 6)
