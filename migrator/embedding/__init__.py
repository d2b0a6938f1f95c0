"""Texts become vectors: who computes them, what may go wrong with an answer. `open_provider` finds who that is.

Not here: which rows need a vector, what is kept of it, how far it is (stages/embed.py, vectors.py).
"""

from __future__ import annotations

from collections.abc import Callable

from migrator.config.models import EmbeddingConfig
from migrator.embedding.provider import Provider


def open_provider(settings: EmbeddingConfig, notify: Callable[[str], None]) -> Provider | None:
    """Who computes vectors; None where nobody does. `notify` is told what is waited for.

    Errors: `UsageError` for what the configuration has wrong, or a package that is not installed.
    """
    if settings.provider == "none":
        return None
    if settings.provider == "local":
        from migrator.embedding.local import LocalProvider  # its tokenizer and numpy are for those who use it

        return LocalProvider()
    from migrator.embedding.openai_provider import OpenAIProvider  # half a second that no other command need pay

    return OpenAIProvider(settings, notify)
