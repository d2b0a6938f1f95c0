"""`revert`: asks, then takes the migration back."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from migrator import render
from migrator.commands.session import (
    DEFAULT,
    AsJson,
    ConfigPath,
    Quiet,
    Verbose,
    answer,
    session,
)
from migrator.commands.session import _consoles as _consoles
from migrator.console import Console
from migrator.errors import StoppedError, UsageError
from migrator.lock import exclusive
from migrator.stages.revert import revert as take_back
from migrator.stages.revert import survey


def revert(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also remove what depends on migrated rows.")] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Take the migration back, and only the migration."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection, exclusive(connection):
        found = survey(connection, here.concrete)
        if not yes:
            confirm(here.console, sum(found.tables.values()))
        report = take_back(connection, here.concrete, force=force, emit=here.console.emit)
    answer(here.console, report.as_json(), lambda: render.show_revert(here.console, report))


def confirm(console: Console, rows: int) -> None:
    if console.json or not sys.stdin.isatty():
        raise UsageError("revert asks before it removes anything, and nobody is here to answer", hint="Add --yes.")
    if not typer.confirm(f"Remove {rows:,} migrated rows and everything else that migrate made in this target?"):
        raise StoppedError("nothing was changed")
