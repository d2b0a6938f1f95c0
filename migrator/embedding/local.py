"""Embeddings without a service: the weights that the package wordllama ships, read from its folder.

256 dimensions, the mean of the tokens' vectors: good enough to show a similarity search and to test one, no match for
a real model. wordllama's own loader is not used: it looks for the tokenizer in another folder than its own, and would
fetch it from a hub.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from migrator.embedding.provider import EmbeddingResult, Failure, Result, Success
from migrator.embedding.responses import check_vector
from migrator.errors import UsageError

NAME, DIMENSIONS = "l2_supercat", 256
INSTALL = "Install it: pip install 'mongo-to-postgres[local]'; or choose another embedding.provider."


class LocalProvider:
    model = f"wordllama/{NAME}_{DIMENSIONS}"
    dimensions = DIMENSIONS
    batch = 256
    concurrency = 1

    def __init__(self) -> None:
        """Reads the weights. Errors: `UsageError` where they are not installed."""
        try:
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer
        except ImportError as error:
            raise UsageError(f'embedding.provider "local" needs a package: {error}', hint=INSTALL) from error
        folder = _folder()
        self._weights = load_file(folder / "weights" / f"{NAME}_{DIMENSIONS}.safetensors")["embedding.weight"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / f"{NAME}_tokenizer_config.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    async def embed(self, texts: Sequence[str]) -> EmbeddingResult:
        return await asyncio.to_thread(self._embed, list(texts))

    async def close(self) -> None:
        """There is nothing to close."""

    def _embed(self, texts: list[str]) -> EmbeddingResult:
        encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return EmbeddingResult([self._result(each.ids) for each in encoded], sum(len(each.ids) for each in encoded))

    def _result(self, tokens: list[int]) -> Result:
        if not tokens:
            return Failure("the text has no tokens")
        mean = self._weights[tokens].mean(axis=0, dtype="float32")
        checked = check_vector(array("f", mean.tobytes()), DIMENSIONS)
        return Failure(checked) if isinstance(checked, str) else Success(checked)


def _folder() -> Path:
    """Where the package lies; it is not imported, for it would set up logging for the whole process."""
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError('embedding.provider "local" needs the package wordllama', hint=INSTALL)
    return Path(spec.submodule_search_locations[0])
