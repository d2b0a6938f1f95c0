"""Whether vectors of the source can be reused: the same model, the same dimensions. Not here: single vectors, which the
mapping checks one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from migrator.config.auxiliary import ChunksSection
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


@dataclass(frozen=True, slots=True)
class _Reuse:
    """A section of migrate.toml whose vectors are reused."""

    name: str
    section: ChunksSection

    @property
    def reembed(self) -> str:
        return f'or set {self.name}.vectors = "reembed" to compute all vectors again.'


def _find_reuse(config: Config) -> _Reuse | None:
    """Return the section whose vectors are reused; None if all vectors are computed."""
    for name, section in config.own_sections().items():
        if isinstance(section, ChunksSection) and section.reuses_vectors:
            return _Reuse(name, section)
    return None


def describe_vectors(config: Config) -> str:
    """Return what happens to vectors of the source, in one line."""
    reuse = _find_reuse(config)
    if reuse is None:
        return "computed by [embedding]"
    return f"reused: {reuse.section.model}, {config.embedding.space.dimensions} dimensions"


def check_vectors(context: MigrationContext) -> Iterator[Problem]:
    """Yield problems with vectors that are reused. It reads the first vectors of the source.

    Raises: `UsageError` if the vectors are wider than their column; `SourceError` if the source cannot be read.
    """
    reuse, embedded, space = _find_reuse(context.config), context.definition.embedded, context.config.embedding.space
    if reuse is None:
        return
    if embedded is None:
        text = f'{reuse.name}.vectors is "reuse", but the mappings declare no EMBEDDED'
        yield Problem(level="blocker", text=text, remedy=f'Declare it, or set {reuse.name}.vectors = "reembed".')
        return
    if reuse.section.model != space.model:
        yield Problem(
            level="blocker",
            text=f"{reuse.name}.model is {reuse.section.model}, but the model of [embedding] is {space.model}: vectors"
            " of two models cannot be compared",
            remedy=f"Set the same model in [embedding], {reuse.reembed}",
        )
    vector_store.check_width(embedded, space.model, space.dimensions)
    sample = context.source.sample_vectors(embedded.collection, SAMPLE)
    yield from _check_sample(reuse, sample, embedded, space.dimensions)


def _check_sample(reuse: _Reuse, sample: VectorSample, embedded: VectorColumn, dimensions: int) -> Iterator[Problem]:
    if not sample.values:
        yield Problem(
            level="warning",
            text=f'{reuse.name}.vectors is "reuse", but no vector was found at the beginning of {embedded.collection}',
            remedy=f"Check {reuse.name}.url. Missing vectors are computed by [embedding].",
        )
        return
    read = [vector for value in sample.values if (vector := read_vector(value)) is not None]
    if not read:
        text = f"none of the first {format_count(len(sample.values), 'vectors')} of the source is readable as a vector"
        yield Problem(level="blocker", text=text, remedy=f"Correct the vectors in the source, {reuse.reembed}")
    found = Counter(map(len, read))
    if found and found[dimensions] * 2 < len(read):
        yield Problem(
            level="blocker",
            text=f"most of the first {len(read):,} vectors of the source have {found.most_common(1)[0][0]:,}"
            f" dimensions, but embedding.dimensions is {dimensions:,}",
            remedy=f"Set embedding.dimensions to the dimensions of the source, {reuse.reembed}",
        )
    if sample.kind == "halfvec":
        yield Problem(
            level="warning",
            text="the vectors of the source are of type halfvec: reused vectors have 2 bytes of precision per number,"
            " computed ones 4",
            remedy=f"This changes distances slightly. Accept it, {reuse.reembed}",
        )


def find_other_dimensions(
    connection: Connection, namespace: Namespace, embedded: VectorColumn | None, config: Config
) -> list[str]:
    """Return a blocker if most vectors that a complete rehearsal has read have other dimensions."""
    reuse = _find_reuse(config)
    if embedded is None or reuse is None:
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
        f" the source, {reuse.reembed}"
    ]
