"""`revert`: asks, then takes the migration back."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from migrator.commands.context import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, answer, session
from migrator.commands.context import _consoles as _consoles
from migrator.errors import StoppedError, UsageError
from migrator.events import Notice
from migrator.provenance import backup
from migrator.state.lock import exclusive
from migrator.terminal import render_revert
from migrator.terminal.console import Console
from migrator.workflows.revert import RevertReport, refuse_losses, survey
from migrator.workflows.revert import revert as take_back


def revert(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also remove rows written or changed since.")] = False,
    save: Annotated[Path | None, typer.Option(help="With --force: write these rows to files here first.")] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Take the migration back, and only the migration."""
    here = session(config, json, verbose, quiet)
    if save is not None:
        if not force:
            raise UsageError("--save goes with --force: without it nothing is lost", hint="Add --force.")
        backup.require_new(save)
    with here.connection() as connection, exclusive(connection):
        with suppress(psycopg.DataError):  # a server on a system that cannot tell
            # Otherwise, if we are killed, the server works on for nobody, and its locks keep the next revert out.
            connection.execute("SET client_connection_check_interval = '1s'")
        found = survey(connection, here.definition)
        if not force:
            refuse_losses(found.losses)
        agree(here.console, found, yes=yes, saved=save is not None)
        report = take_back(connection, here.definition, found, force=force, save=save, emit=here.console.emit)
    answer(here.console, report.as_json(), lambda: render_revert.show_revert(here.console, report))


def agree(console: Console, found: RevertReport, *, yes: bool, saved: bool) -> None:
    """Shows what will be done and has it confirmed; what will be lost for ever is confirmed for itself."""
    lost = 0 if saved else sum(loss.count for loss in found.losses)
    if yes:
        if lost:
            console.emit(Notice(text=f"{lost:,} rows that others wrote or changed are lost for ever", level="warning"))
        return
    if console.json or not sys.stdin.isatty():
        raise UsageError("revert asks before it removes anything, and nobody is here to answer", hint="Add --yes.")
    render_revert.show_intent(console, found)
    confirm("Take it back?")
    if lost:
        confirm(f"{lost:,} rows that others wrote or changed will be lost for ever (--save DIR keeps them). Go on?")


def confirm(question: str) -> None:
    if not typer.confirm(question):
        raise StoppedError("nothing was changed")
