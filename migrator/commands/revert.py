"""`revert`: asks for confirmation, then undoes the migration."""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from migrator.commands.context import Session, open_session
from migrator.commands.history import recorded
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, confirm, print_result
from migrator.errors import UsageError
from migrator.formatting import format_count
from migrator.provenance import backup
from migrator.state.lock import exclusive
from migrator.terminal import render_revert
from migrator.workflows.revert import Reverter, RevertOptions, RevertReport, refuse_in_use, refuse_losses


def revert(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also delete rows that other applications added or changed.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(help="With --force: first write these rows to files in this folder.")
    ] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Undo the migration; keep all other data."""
    session = open_session(config, json, verbose, quiet)
    if save is not None:
        if not force:
            raise UsageError("--save requires --force: without it no such rows are deleted", hint="Add --force.")
        backup.require_new(save)
    with (
        recorded(session, "revert") as entry,
        session.target() as target,
        closing(target.connect()) as connection,
        exclusive(connection),
    ):
        entry["target"] = target.label
        with suppress(psycopg.DataError):  # the operating system of the server does not support it
            # If this process is killed, the server ends the statement and releases its locks.
            connection.execute("SET client_connection_check_interval = '1s'")
        reverter = Reverter(connection=connection, definition=session.definition)
        found = reverter.survey()
        if not force:
            refuse_in_use(connection, reverter.namespace)
            refuse_losses(found.losses)
        deleted = 0 if save is not None else sum(loss.count for loss in found.losses)
        confirm_revert(session, found, target.label, yes=yes, deleted=deleted)
        report = reverter.revert(found, RevertOptions(force=force, save=save), session.console.emit)
        entry |= {"run": report.run, "status": report.status}
    print_result(session.console, report.as_json(), lambda: render_revert.show_revert(session.console, report))


def confirm_revert(session: Session, found: RevertReport, label: str, *, yes: bool, deleted: int) -> None:
    """Shows what a revert deletes and asks for confirmation; a second time if rows are deleted permanently.

    `deleted`: rows of other applications that are deleted and not saved. Raises: `StoppedError` if the answer is no.
    """
    if yes:
        if deleted:
            session.warn(
                f"{format_count(deleted, 'rows')} that other applications added or changed: deleted permanently"
            )
        return
    if session.console.json or not sys.stdin.isatty():
        raise UsageError("no terminal for confirmation; use --yes", hint="Add --yes to revert without confirmation.")
    render_revert.show_intent(session.console, found)
    confirm(f"Revert run {found.run} on {label}?")
    if deleted:
        confirm(
            f"{format_count(deleted, 'rows')} that other applications added or changed will be deleted permanently"
            " (--save DIR writes them to files). Continue?"
        )
