"""Auxiliary sources: collections that are not in MongoDB (a table, text chunks). `open_auxiliary` opens the configured
ones.

`base` defines the interface; each kind of source has its own module. The mappings declare which collection a section of
migrate.toml fills. All URL schemes of auxiliary sources are in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from migrator.config.auxiliary import ChunksSection, TableSection
from migrator.config.models import Config
from migrator.errors import UsageError
from migrator.mapping.loader import MigrationDefinition
from migrator.sources.auxiliary.base import AuxiliarySource, CompositeSource, Origin
from migrator.sources.base import Source

Notify = Callable[[str], None]


def with_auxiliary(
    source: Source, config: Config, definition: MigrationDefinition, notify: Notify | None = None
) -> Source:
    """Return the source with the configured auxiliary sources; the source itself if there are none."""
    auxiliary = list(open_auxiliary(config, definition, notify))
    return CompositeSource(source, auxiliary) if auxiliary else source


def open_auxiliary(
    config: Config, definition: MigrationDefinition, notify: Notify | None = None
) -> Iterator[AuxiliarySource]:
    """Open the auxiliary source of each configured section.

    Raises: `UsageError`; `SourceError` if a source cannot be reached.
    """
    for name, section in config.own_sections().items():
        if isinstance(section, TableSection):
            yield _open_table(section, *_origin_of(name, definition))
        elif isinstance(section, ChunksSection):
            yield _open_chunks(section, _origin_of(name, definition)[0], notify)


def _origin_of(section: str, definition: MigrationDefinition) -> tuple[Origin, dict[str, str]]:
    """Return the collection that a section fills, and the kinds of its fields."""
    for merge in definition.merges.values():
        if merge.section == section:
            return Origin(merge.name, section), dict(merge.kinds)
    for mapping in definition.mappings.values():
        if mapping.section == section:
            return Origin(mapping.name, section), {}
    raise UsageError(
        f"the mappings declare no collection for the section [{section}]",
        hint=f"Remove the section [{section}] from migrate.toml, or set other mappings under [migration].",
    )


def _open_table(section: TableSection, origin: Origin, kinds: dict[str, str]) -> AuxiliarySource:
    kind, path = _split_url(section.url)
    if kind == "csv":
        from migrator.sources.auxiliary.csv_file import CsvFile

        return CsvFile(origin, path, kinds, section.columns)
    from migrator.sources.auxiliary.postgres_table import PostgresTable

    return PostgresTable(origin, section.url, section.table, section.columns)


def _open_chunks(section: ChunksSection, origin: Origin, notify: Notify | None) -> AuxiliarySource:
    kind, path = _split_url(section.url)
    if kind == "jsonl":
        from migrator.sources.auxiliary.jsonl import JsonLines

        return JsonLines(origin, path, with_vectors=section.reuses_vectors)
    if kind == "files":
        from migrator.sources.auxiliary.text_files import TextFiles

        return TextFiles(origin, path, section.size, section.overlap, notify)
    from migrator.sources.auxiliary.langchain_store import LangchainStore

    return LangchainStore(origin, section.url, section.collection, with_vectors=section.reuses_vectors)


def _split_url(url: str) -> tuple[str, str]:
    """Return the scheme and the path behind it."""
    kind, _, path = url.partition(":")
    return kind, path
