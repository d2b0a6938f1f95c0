"""Collections that come from elsewhere than MongoDB: recordings and chunks. `open_beside` opens what is configured.

What one is says `base`; each reader has a file of its own. Which collection a section of migrate.toml feeds is declared
by the mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from migrator.config.models import ChunksConfig, Config, RecordingsConfig
from migrator.errors import UsageError
from migrator.mapping.loader import MigrationDefinition
from migrator.sources.auxiliary.base import AuxiliarySource, CompositeSource
from migrator.sources.base import Source

__all__ = ["AuxiliarySource", "Combined", "combine", "open_beside"]

Notify = Callable[[str], None]


def with_auxiliary(
    source: Source, config: Config, definition: MigrationDefinition, notify: Notify | None = None
) -> Source:
    """The source together with what is configured beside it; the source itself where that is nothing."""
    beside = list(open_beside(config, definition, notify))
    return CompositeSource(source, beside) if beside else source


def open_beside(
    config: Config, definition: MigrationDefinition, notify: Notify | None = None
) -> Iterator[AuxiliarySource]:
    """A reader for each section that is there. Errors: `UsageError`, `SourceError` where it cannot be reached."""
    if config.recordings is not None:
        yield _open_recordings(config.recordings, *_fed_by("recordings", definition))
    if config.chunks is not None:
        yield _open_chunks(config.chunks, _fed_by("chunks", definition)[0], notify)


def _fed_by(section: str, definition: MigrationDefinition) -> tuple[str, dict[str, str]]:
    """The collection that a section feeds, and the kinds of its fields."""
    for merge in definition.merges.values():
        if merge.section == section:
            return merge.name, dict(merge.kinds)
    for mapping in definition.mappings.values():
        if mapping.section == section:
            return mapping.name, {}
    raise UsageError(
        f"[{section}] is configured, but the mappings have no collection for it",
        hint=f"Take the section [{section}] out of migrate.toml, or name other mappings under [migration].",
    )


def _open_recordings(section: RecordingsConfig, name: str, kinds: dict[str, str]) -> AuxiliarySource:
    if section.url.startswith("csv:"):
        from migrator.sources.auxiliary.csv_file import CsvFile

        return CsvFile(name, section.url.removeprefix("csv:"), kinds, section.columns)
    from migrator.sources.auxiliary.postgres_table import Table

    return Table(name, section.url, section.table, section.columns)


def _open_chunks(section: ChunksConfig, name: str, notify: Notify | None) -> AuxiliarySource:
    if section.url.startswith("jsonl:"):
        from migrator.sources.auxiliary.jsonl import JsonLines

        return JsonLines(name, section.url.removeprefix("jsonl:"))
    if section.url.startswith("files:"):
        from migrator.sources.auxiliary.text_files import Folder

        return Folder(name, section.url.removeprefix("files:"), section.size, section.overlap, notify)
    from migrator.sources.auxiliary.langchain_store import Store

    return Store(name, section.url, section.collection)
