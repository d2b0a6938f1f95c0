"""What the commands that migrate need: the source and the migration definition, besides what every command needs.

Not here: the commands themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from migrator.commands.options import current_console
from migrator.commands.target_session import TargetSession, folder_of, prepare_console
from migrator.config.models import Config
from migrator.mapping.loader import MigrationDefinition, load_definition, load_settings
from migrator.sources import open_source
from migrator.sources.auxiliary import with_auxiliary
from migrator.sources.base import Source
from migrator.sources.shared import with_shared
from migrator.workflows.migration import MigrationContext


@dataclass(frozen=True)
class Session(TargetSession):
    """The console, the configuration and the migration definition of one command."""

    config: Config
    definition: MigrationDefinition

    @contextmanager
    def source(self) -> Iterator[Source]:
        """Opens the source, with its auxiliary sources."""
        with ExitStack() as opened:
            main = opened.enter_context(
                closing(open_source(self.config.source.url, self.config.source.database, self.warn))
            )
            main.prefetch_collections()
            main = with_shared(main, self.definition.mappings)
            yield opened.enter_context(closing(with_auxiliary(main, self.config, self.definition, self.warn)))

    def migration(self, source: Source) -> MigrationContext:
        """Returns the migration of an open source."""
        return MigrationContext(config=self.config, definition=self.definition, source=source, emit=self.console.emit)


def open_session(config: Path, json: bool, verbose: bool, quiet: bool) -> Session:
    """Reads the configuration and imports the packages of the project. Raises: `UsageError`."""
    console = current_console(json, quiet, verbose)
    settings = load_settings(config, os.environ)
    prepare_console(console, settings.secrets())
    folder = folder_of(config)
    definition = load_definition(settings.migration.mappings, settings.migration.schema_module, str(folder))
    return Session(console, settings.target, folder, settings, definition)
