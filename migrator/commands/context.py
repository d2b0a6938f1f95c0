"""What every command needs: the common options, the console, the configuration and the migration definition.

Not here: the commands themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from migrator.config.models import Config
from migrator.errors import StoppedError
from migrator.events import Notice
from migrator.execution.garbage import collect_seldom
from migrator.mapping.loader import MigrationDefinition, load_definition, load_settings
from migrator.postgres.environment import remove_libpq_variables
from migrator.postgres.privileges import explain_missing_privileges
from migrator.sources import open_source
from migrator.sources.auxiliary import with_auxiliary
from migrator.sources.base import Source
from migrator.sources.shared import with_shared
from migrator.targets import open_target
from migrator.targets.base import Target
from migrator.terminal.console import Console
from migrator.workflows.migration import MigrationContext

ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to standard output; messages go to standard error.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More detail, including tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors and the result.")]
DEFAULT = Path("migrate.toml")

consoles: list[Console] = []  # the console of this process, once it exists
log_paths: list[Path] = []  # the file of --log-file


@dataclass(frozen=True)
class Session:
    """The console, the configuration and the migration definition of one command."""

    console: Console
    config: Config
    definition: MigrationDefinition
    folder: Path  # of the configuration file

    def warn(self, text: str) -> None:
        """Shows a warning."""
        self.console.emit(Notice(text=text, level="warning"))

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

    @contextmanager
    def target(self, *, create: bool = False) -> Iterator[Target]:
        """Opens the target; `create` starts an embedded one that does not exist yet."""
        with (
            closing(open_target(self.config.target.url, create=create, notify=self.warn)) as target,
            explain_missing_privileges(target.dsn),
        ):
            yield target

    @contextmanager
    def existing_target(self) -> Iterator[Target | None]:
        """Opens the target; None if it is an embedded one that does not exist yet, because it must not be created."""
        kind, _, folder = self.config.target.url.partition(":")
        if kind == "embedded" and not Path(folder).exists():
            yield None
            return
        with self.target() as target:
            yield target

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Opens the target and connects to it."""
        with self.target() as target, closing(target.connect()) as connection:
            yield connection


def open_session(config: Path, json: bool, verbose: bool, quiet: bool) -> Session:
    """Reads the configuration and imports the packages of the project. Raises: `UsageError`."""
    collect_seldom()
    console = current_console(json, quiet, verbose)
    settings = load_settings(config, os.environ)
    console.mask = settings.secrets().mask
    if removed := remove_libpq_variables():
        names = ", ".join(removed)
        console.emit(Notice(text=f"ignored environment variables of libpq: {names}; use target.url", level="warning"))
    folder = os.path.dirname(os.path.abspath(config))
    definition = load_definition(settings.migration.mappings, settings.migration.schema_module, folder)
    return Session(console, settings, definition, Path(folder))


def current_console(json: bool = False, quiet: bool = False, verbose: bool = False) -> Console:
    """Returns the console of this process; the first call creates it with its options."""
    if not consoles:
        console = Console(json=json, quiet=quiet, verbose=verbose)
        consoles.append(console)
        if log_paths:
            path = log_paths.pop()
            console.open_log(path)
    return consoles[0]


def print_result(console: Console, value: object, show: Callable[[], object]) -> None:
    """Prints the result: `value` as one JSON document with --json, otherwise by calling `show`."""
    if console.json:
        console.print_json(value)
    else:
        console.close()
        show()


def split_names(text: str) -> frozenset[str]:
    """Splits a comma-separated list of names."""
    return frozenset(name for each in text.split(",") if (name := each.strip()))


def confirm(question: str) -> None:
    """Asks a yes-or-no question on the terminal. Raises: `StoppedError` if the answer is no."""
    if not typer.confirm(question):
        raise StoppedError("cancelled; nothing was changed")
