"""What every command starts from: its common options, the console, the configuration, the concrete migration.

Not here: the commands themselves (its neighbours).
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

from migrator.config.loader import load_config
from migrator.config.models import Config
from migrator.events import Notice
from migrator.mapping.loader import MigrationDefinition, load_definition
from migrator.postgres.privileges import explain_missing_privileges
from migrator.sources import open_source
from migrator.sources.auxiliary import with_auxiliary
from migrator.sources.base import LiveProbe, Source
from migrator.targets import open_target
from migrator.targets.base import Target
from migrator.terminal.console import Console

ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output; messages on standard error.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tracebacks, and more words.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")]
DEFAULT = Path("migrate.toml")


@dataclass(frozen=True)
class Session:
    """What every command starts from: the console, the configuration, the concrete migration."""

    console: Console
    config: Config
    definition: MigrationDefinition

    @contextmanager
    def source(self) -> Iterator[Source]:

        def notify(text: str) -> None:
            self.console.emit(Notice(text=text, level="warning"))

        with ExitStack() as opened:
            main = opened.enter_context(
                closing(open_source(self.config.source.url, self.config.source.database, notify))
            )
            if isinstance(main, LiveProbe):
                main.begin()
            yield opened.enter_context(closing(with_auxiliary(main, self.config, self.definition, notify)))

    @contextmanager
    def target(self, *, create: bool = False) -> Iterator[Target]:
        with (
            closing(open_target(self.config.target.url, create=create)) as target,
            explain_missing_privileges(target.dsn),
        ):
            yield target

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self.target() as target, closing(target.connect()) as connection:
            yield connection


def session(config: Path, json: bool, verbose: bool, quiet: bool) -> Session:
    console = current_console(json, quiet, verbose)
    settings = load_config(config, os.environ)
    console.mask = settings.secrets().mask
    folder = os.path.dirname(os.path.abspath(config))
    definition = load_definition(settings.migration.mappings, settings.migration.schema_module, folder)
    return Session(console, settings, definition)


_consoles: list[Console] = []


def current_console(json: bool = False, quiet: bool = False, verbose: bool = False) -> Console:
    """The console of this process; the first call decides how it talks."""
    if not _consoles:
        _consoles.append(Console(json=json, quiet=quiet, verbose=verbose))
    return _consoles[0]


def answer(console: Console, value: object, show: Callable[[], object]) -> None:
    """The result: one JSON document, or words."""
    if console.json:
        console.print_json(value)
    else:
        console.close()
        show()
