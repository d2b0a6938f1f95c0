"""`embed`: embeddings that are still missing after a run, or the vector of one text to search with."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from migrator.commands.context import DEFAULT, AsJson, ConfigPath, Quiet, Session, Verbose, answer, session
from migrator.embedding import open_provider
from migrator.embedding.provider import Failure, Vector
from migrator.embedding.vector_store import pad, width_of
from migrator.errors import EmbeddingError, UsageError
from migrator.events import Notice
from migrator.workflows.run import embed_missing


def embed(
    text: Annotated[str, typer.Option(help="Print the vector of this text instead, for a query by hand.")] = "",
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Fill embeddings that are still missing."""
    here = session(config, json, verbose, quiet)
    if text:
        vector = vector_of(here, text)
        answer(here.console, {"vector": list(vector)}, lambda: typer.echo(spell(vector)))
        return
    with here.target() as target:
        report = embed_missing(here.config, here.definition, target, here.console.emit)
    left = report.chunks - report.filled
    told = f"{report.filled:,} chunks embedded, {left:,} left without an embedding."
    answer(here.console, report.as_json(), lambda: here.console.print(told))


def vector_of(here: Session, text: str) -> Vector:
    """As the column holds it. Errors: `UsageError` where nobody computes embeddings, `EmbeddingError`."""
    provider = open_provider(here.config.embedding, lambda said: here.console.emit(Notice(text=said, level="warning")))
    if provider is None:
        raise UsageError("the provider of embeddings is none", hint='Set embedding.provider to "openai" or "local".')

    async def ask() -> Vector:
        try:
            result = (await provider.embed([text])).results[0]
        finally:
            await provider.close()
        if isinstance(result, Failure):
            raise EmbeddingError(f"no embedding: {result.why}")
        return result.vector

    vector = asyncio.run(ask())
    return vector if here.definition.embedded is None else pad(vector, width_of(here.definition.embedded))


def spell(vector: Vector) -> str:
    """As pgvector reads it."""
    return "[" + ",".join(f"{value:.9g}" for value in vector) + "]"
