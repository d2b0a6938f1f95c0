"""The stage embed: computes the missing embeddings. An interrupted stage resumes, and no text is billed twice.

`embedding.filler` sends the texts to the service and writes the vectors; this module opens the provider and reports.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from migrator.config.models import EmbeddingConfig
from migrator.embedding import open_provider, vector_indexes, vector_store
from migrator.embedding.filler import STEP, EmbeddingFiller, format_cost
from migrator.embedding.prices import cost_of
from migrator.embedding.provider import PROBE, Failure
from migrator.embedding.vector_store import FAILED, VectorStore
from migrator.errors import EmbeddingError
from migrator.events import Notice, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.mapping.collection import VectorColumn
from migrator.stages.context import StageContext


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReport:
    """The outcome for `chunks` rows of a run without a vector. Rows that are failed or empty still have none.

    `tokens` and `usd` are the cost of this call; `usd` is None if the price is unknown.
    """

    run: int
    chunks: int = 0
    filled: int = 0
    failed: int = 0
    empty: int = 0
    tokens: int = 0
    usd: float | None = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def embed(stage: StageContext, embedded: VectorColumn, settings: EmbeddingConfig) -> EmbedReport:
    """Compute a vector for every row of `embedded` without one.

    Vectors that were written before an error are kept.

    Raises: `EmbeddingError` if the service is unreachable or refuses access; `UsageError` if existing vectors were
    computed by another model.
    """
    connection, namespace, emit = stage.connection, stage.namespace, stage.emit
    vector_store.record_space(connection, namespace, embedded, stage.run, settings.space)
    missing = vector_store.count_missing(connection, namespace, embedded)
    if not missing:
        return EmbedReport(run=stage.run)
    provider = open_provider(settings, lambda text: emit(Notice(text=text, level="warning")))
    if provider is None:
        text = f"{missing:,} chunks have no embedding, because embedding.provider is none. Compute them later with"
        emit(Notice(text=f"{text} `migrate embed`."))
        return EmbedReport(run=stage.run, chunks=missing)
    store = VectorStore(connection, namespace, embedded, provider.model, provider.dimensions)
    store.prepare(stage.run)
    has_indexes = bool(vector_indexes.find_indexes(connection, namespace, embedded))
    vector_indexes.mark_stale(connection, namespace, stale=has_indexes)
    emit(StepStarted(step=STEP, total=missing, unit="chunks"))
    filler = EmbeddingFiller(provider, store, lambda tokens: cost_of(settings, tokens), emit)
    counts = asyncio.run(filler.fill())
    usd = cost_of(settings, counts.tokens)
    emit(StepFinished(step=STEP, note=f"{format_count(counts.filled, 'chunks')}, {format_cost(counts.tokens, usd)}"))
    if counts.failed:
        text = f"{counts.failed:,} chunks have no embedding: see the findings {FAILED}. Retry with `migrate embed`."
        emit(Notice(text=text, level="warning"))
    return EmbedReport(
        run=stage.run,
        chunks=missing,
        filled=counts.filled,
        failed=counts.failed,
        empty=counts.empty,
        tokens=counts.tokens,
        usd=usd,
    )


def check_provider(embedded: VectorColumn, settings: EmbeddingConfig, *, send_request: bool) -> None:
    """Check before a run that embeddings can be computed; with `send_request`, send one short text to the service.

    Raises: `UsageError` for wrong settings, `EmbeddingError` if the service cannot be used.
    """
    provider = open_provider(settings, lambda text: None)
    if provider is None:
        return
    vector_store.check_width(embedded, provider.model, provider.dimensions)

    async def probe() -> None:
        try:
            result = (await provider.embed([PROBE])).results[0] if send_request else None
        finally:
            await provider.close()
        if isinstance(result, Failure):
            raise EmbeddingError(
                f"the embedding service returned no usable vector: {result.why}", hint="Check [embedding]."
            )

    asyncio.run(probe())
