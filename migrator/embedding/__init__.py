"""Computes embeddings of texts: providers, rate limit, batching, and the vectors stored in PostgreSQL.

Not here: the stage that fills missing embeddings (`stages/embed.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from migrator.config.models import EmbeddingConfig
from migrator.embedding.provider import Provider


def open_provider(settings: EmbeddingConfig, notify: Callable[[str], None]) -> Provider | None:
    """Open the configured provider; return None if it is `none`. `notify` receives messages about retries.

    Raises: `UsageError` if the settings are invalid or a package is not installed.
    """
    if settings.provider == "none":
        return None
    if settings.provider == "local":
        from migrator.embedding.local import LocalProvider  # its packages are optional

        return LocalProvider()
    from migrator.embedding.openai_provider import OpenAIProvider  # takes 0.5 s, which other commands do not need

    return OpenAIProvider(settings, notify)
