"""The console and the target of one command: all that a command needs that reads no documents.

Not here: the source and the migration definition (context.py), which take half a second to import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from migrator.commands.options import current_console
from migrator.config.loader import load_target
from migrator.config.models import TargetConfig
from migrator.events import Notice
from migrator.masking import Secrets
from migrator.postgres.environment import remove_libpq_variables
from migrator.postgres.privileges import explain_missing_privileges
from migrator.targets import open_target
from migrator.targets.base import Target
from migrator.terminal.console import Console


@dataclass(frozen=True)
class TargetSession:
    """The console and the target of one command."""

    console: Console
    target_config: TargetConfig
    folder: Path  # of the configuration file

    def warn(self, text: str) -> None:
        """Shows a warning."""
        self.console.emit(Notice(text=text, level="warning"))

    @contextmanager
    def target(self, *, create: bool = False) -> Iterator[Target]:
        """Opens the target; `create` starts an embedded one that does not exist yet."""
        with (
            closing(open_target(self.target_config.url, create=create, notify=self.warn)) as target,
            explain_missing_privileges(target.dsn),
        ):
            yield target

    @contextmanager
    def existing_target(self) -> Iterator[Target | None]:
        """Opens the target; None if it is an embedded one that does not exist yet, because it must not be created."""
        kind, _, folder = self.target_config.url.partition(":")
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


def open_target_session(config: Path, json: bool, verbose: bool, quiet: bool) -> TargetSession:
    """Reads the section [target] of the configuration. Raises: `UsageError`."""
    console = current_console(json, quiet, verbose)
    target, secrets = load_target(config, os.environ)
    prepare_console(console, secrets)
    return TargetSession(console, target, folder_of(config))


def prepare_console(console: Console, secrets: Secrets) -> None:
    """Lets the console mask the secrets, and ignores libpq's environment variables with a warning."""
    console.mask = secrets.mask
    if removed := remove_libpq_variables():
        names = ", ".join(removed)
        console.emit(Notice(text=f"ignored environment variables of libpq: {names}; use target.url", level="warning"))


def folder_of(config: Path) -> Path:
    """Returns the absolute path of the folder of a file. Symbolic links stay as the user wrote them."""
    return Path(os.path.dirname(os.path.abspath(config)))
