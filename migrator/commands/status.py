"""`status`: the progress of a run, and of following. It reads records only, so it needs no migration definition."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import Annotated, Any

import psycopg
import typer

from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, print_result
from migrator.commands.target_session import open_target_session
from migrator.errors import TargetError
from migrator.monitoring import status
from migrator.state.records import Namespace
from migrator.targets.base import Target
from migrator.terminal.console import Console
from migrator.terminal.render_status import blocks_of

WATCH_SECONDS = 1.0


def status_command(
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until run and following end, or until Ctrl-C.")
    ] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Show the progress of a run."""
    session = open_target_session(config, json, verbose, quiet)
    with session.target() as target:
        found = watch_status(session.console, target) if watch else read_once(target)
    if session.console.json or not watch:
        print_result(session.console, found, lambda: session.console.show(blocks_of(found, session.console.width)))


def read_once(target: Target) -> status.Status:
    with closing(target.connect()) as connection:
        return status.read_status(connection, Namespace())


def watch_status(console: Console, target: Target) -> status.Status:
    """Shows the status every second until run and following end; returns the last status.

    Ctrl-C ends the display, not the run. If the connection is lost, it connects again.
    """
    found = read_once(target)
    connection = target.connect()
    with ExitStack() as stack:
        show = (lambda blocks: None) if console.json else stack.enter_context(console.screen())
        try:
            while True:
                show(blocks_of(found, console.width))
                if is_finished(found):
                    return found
                time.sleep(WATCH_SECONDS)
                try:
                    found = status.read_status(connection, Namespace())
                except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
                    connection = reconnect(target, connection)
        except KeyboardInterrupt:
            return found
        finally:
            connection.close()


def is_finished(found: status.Status) -> bool:
    """Returns whether nothing more happens: the run is done, and no process follows the source."""
    following = found.get("follow") is not None and found["follow"]["state"] in ("following", "switched")
    return bool(found["status"] == "done" and not (following and found["holder"] is not None))


def reconnect(target: Target, lost: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Returns a new connection, or the lost one while the server is not reachable."""
    try:
        return target.connect()
    except TargetError:
        return lost
