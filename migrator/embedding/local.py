"""Computes embeddings without a service, from the weights in the package wordllama.

256 dimensions; the mean of the vectors of the tokens. Suitable for demonstrations and tests of a similarity search, not
for production. The loader of wordllama is not used: it does not look for the tokenizer in its own folder and would
download it.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from migrator.config.models import LOCAL_SPACE
from migrator.documents.vectors import check_vector
from migrator.embedding.provider import EmbeddingResult, Failure, Result, Success
from migrator.errors import UsageError

NAME, DIMENSIONS = "l2_supercat", LOCAL_SPACE.dimensions
INSTALL = "Run pip install 'mongo-to-postgres[local]', or set another embedding.provider."


class LocalProvider:
    """Computes embeddings in this process."""

    model = LOCAL_SPACE.model
    dimensions = DIMENSIONS
    batch = 256
    concurrency = 1

    def __init__(self) -> None:
        """Read the weights.

        Raises: `UsageError` if they are not installed.
        """
        try:
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer
        except ImportError as error:
            raise UsageError(f'embedding.provider "local" requires a package: {error}', hint=INSTALL) from error
        folder = _folder()
        self._weights = load_file(folder / "weights" / f"{NAME}_{DIMENSIONS}.safetensors")["embedding.weight"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / f"{NAME}_tokenizer_config.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    async def embed(self, texts: Sequence[str]) -> EmbeddingResult:
        """Embed texts in a thread."""
        return await asyncio.to_thread(self._embed, list(texts))

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

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
    """Return the folder of the package, without importing it: an import would configure logging for this process."""
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError('embedding.provider "local" requires the package wordllama', hint=INSTALL)
    return Path(spec.submodule_search_locations[0])
