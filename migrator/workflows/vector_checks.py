"""Whether vectors of the source can be reused: the same model, the same dimensions. Not here: single vectors, which the
mapping checks one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from migrator.config.models import Config
from migrator.documents.vectors import read_vector
from migrator.embedding import vector_store
from migrator.formatting import format_count
from migrator.mapping.collection import VectorColumn
from migrator.postgres.server_checks import Problem
from migrator.sources.base import VectorSample
from migrator.state.records import Connection, Namespace
from migrator.workflows.migration import MigrationContext

SAMPLE = 100  # vectors that are read before a run
REEMBED = 'or set chunks.vectors = "reembed" to compute all vectors again.'


def describe_vectors(config: Config) -> str:
    """Return what happens to vectors of the source, in one line."""
    if config.chunks is None or not config.chunks.reuses_vectors:
        return "computed by [embedding]"
    return f"reused: {config.chunks.model}, {config.embedding.space.dimensions} dimensions"


def check_vectors(context: MigrationContext) -> Iterator[Problem]:
    """Yield problems with `chunks.vectors = "reuse"`. It reads the first vectors of the source.

    Raises: `UsageError` if the vectors are wider than their column; `SourceError` if the source cannot be read.
    """
    chunks, embedded, space = context.config.chunks, context.definition.embedded, context.config.embedding.space
    if chunks is None or not chunks.reuses_vectors:
        return
    if embedded is None:
        text = 'chunks.vectors is "reuse", but the mappings declare no EMBEDDED'
        yield Problem(level="blocker", text=text, remedy='Declare it, or set chunks.vectors = "reembed".')
        return
    if chunks.model != space.model:
        yield Problem(
            level="blocker",
            text=f"chunks.model is {chunks.model}, but the model of [embedding] is {space.model}: vectors of two models"
            " cannot be compared",
            remedy=f"Set the same model in [embedding], {REEMBED}",
        )
    vector_store.check_width(embedded, space.model, space.dimensions)
    sample = context.source.sample_vectors(embedded.collection, SAMPLE)
    yield from _check_sample(sample, embedded, space.dimensions)


def _check_sample(sample: VectorSample, embedded: VectorColumn, dimensions: int) -> Iterator[Problem]:
    if not sample.values:
        yield Problem(
            level="warning",
            text=f'chunks.vectors is "reuse", but no vector was found at the beginning of {embedded.collection}',
            remedy="Check chunks.url. Missing vectors are computed by [embedding].",
        )
        return
    read = [vector for value in sample.values if (vector := read_vector(value)) is not None]
    if not read:
        text = f"none of the first {format_count(len(sample.values), 'vectors')} of the source is readable as a vector"
        yield Problem(level="blocker", text=text, remedy=f"Correct the vectors in the source, {REEMBED}")
    found = Counter(map(len, read))
    if found and found[dimensions] * 2 < len(read):
        yield _other_dimensions(
            found.most_common(1)[0][0], f"the first {len(read):,} vectors of the source", dimensions
        )
    if sample.kind == "halfvec":
        yield Problem(
            level="warning",
            text="the vectors of the source are of type halfvec: reused vectors have 2 bytes of precision per number,"
            " computed ones 4",
            remedy=f"This changes distances slightly. Accept it, {REEMBED}",
        )


def _other_dimensions(dimensions: int, what: str, expected: int) -> Problem:
    return Problem(
        level="blocker",
        text=f"most of {what} have {dimensions:,} dimensions, but embedding.dimensions is {expected:,}",
        remedy=f"Set embedding.dimensions to the dimensions of the source, {REEMBED}",
    )


def find_other_dimensions(
    connection: Connection, namespace: Namespace, embedded: VectorColumn | None, config: Config
) -> list[str]:
    """Return a blocker if most vectors that a complete rehearsal has read have other dimensions."""
    if embedded is None or config.chunks is None or not config.chunks.reuses_vectors:
        return []
    query = namespace.sql(
        "SELECT count(*) FILTER (WHERE code = %s), count(*) FILTER (WHERE code = %s) FROM {findings}"
        " WHERE collection = %s"
    )
    values = (vector_store.REUSED, vector_store.OTHER_DIMENSIONS, embedded.collection)
    found = connection.execute(query, values).fetchone()
    assert found is not None  # an aggregate returns a row
    if found[1] <= found[0]:
        return []
    return [
        f"{found[1]:,} of {format_count(found[0] + found[1], 'vectors')} of the source have other dimensions than"
        f" embedding.dimensions ({config.embedding.space.dimensions:,}): set embedding.dimensions to the dimensions of"
        f" the source, {REEMBED}"
    ]
