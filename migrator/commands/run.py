"""`run` and `status`: the migration itself, and its progress."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from migrator.commands.check import show_warnings
from migrator.commands.context import (
    DEFAULT,
    AsJson,
    ConfigPath,
    Quiet,
    Session,
    Verbose,
    confirm,
    open_session,
    print_result,
    split_names,
)
from migrator.commands.dry_run import check_options, check_plan, execute_dry_run
from migrator.commands.history import recorded
from migrator.errors import TargetError
from migrator.events import Notice
from migrator.monitoring import status
from migrator.state.records import Namespace
from migrator.targets.base import Target
from migrator.terminal import render
from migrator.terminal.console import Console
from migrator.terminal.render_check import show_direction
from migrator.terminal.render_status import blocks_of
from migrator.translation import native
from migrator.workflows.plan_file import Plan, find_deviations, read_plan
from migrator.workflows.preflight import check_migration, require_no_blockers
from migrator.workflows.run import run_migration

WATCH_SECONDS = 1.0
NOT_COMPILED = (
    "Installed without a C compiler: documents are decoded in Python, which is slower. Install gcc and reinstall."
)


def run(
    plan: Annotated[
        Path | None, typer.Option(help="Execute this saved plan; refuse to run if it is out of date.")
    ] = None,
    only: Annotated[str, typer.Option(help="Load only these collections (comma-separated).")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="The number of worker processes; default: engine.workers.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Rehearse run and verify in a temporary database; report the duration.")
    ] = False,
    rehearse_in: Annotated[
        str, typer.Option(help="Where a dry run runs: embedded, or target (a temporary database on its server).")
    ] = "embedded",
    junit: Annotated[Path | None, typer.Option(help="With --dry-run: write the checks as JUnit XML.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation before the first run.")] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Run the migration, or resume an interrupted run.

    Stages: create the schema, load, reconcile, embed, create indexes and constraints.
    """
    options = check_options(dry_run, rehearse_in, junit, split_names(only))
    session = open_session(config, json, verbose, quiet)
    if workers is not None:
        engine = session.config.engine.model_copy(update={"workers": workers})
        session = replace(session, config=session.config.model_copy(update={"engine": engine}))
    saved = None if plan is None else read_plan(plan)
    if dry_run:
        execute_dry_run(session, saved, options)
    else:
        ask = not yes and saved is None and not json and sys.stdin.isatty()
        execute_run(session, saved, options.only, ask=ask)


def execute_run(session: Session, plan: Plan | None, only: frozenset[str], *, ask: bool = False) -> None:
    """Runs the migration and prints the report. `ask`: for confirmation before the first run of a target."""
    if native.Projector is None:
        session.console.emit(Notice(text=NOT_COMPILED))
    with recorded(session, "run") as entry, session.source() as source, session.target(create=True) as target:
        entry |= {"source": source.label, "target": target.label}
        migration = session.migration(source)
        if plan is not None:
            check_plan(migration, plan, target)
        preflight = check_migration(migration, target)
        show_warnings(session, preflight)
        require_no_blockers(preflight)
        if ask and not preflight.has_run:
            show_direction(session.console, preflight)
            confirm("Start the migration?")
        report = run_migration(migration, target, only)
        entry |= {"run": report.run, "status": report.status}
        if plan is not None and not only and (others := find_deviations(plan, report)):
            session.warn(
                "the result differs from the plan because other applications changed the target since:"
                f" {', '.join(others)}"
            )
    print_result(session.console, report.as_json(), lambda: render.show_run(session.console, report))


def status_command(
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until the run finishes, or until Ctrl-C.")
    ] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Show the progress of a run."""
    session = open_session(config, json, verbose, quiet)
    with session.target() as target:
        found = watch_status(session.console, target) if watch else read_once(target)
    if session.console.json or not watch:
        print_result(session.console, found, lambda: session.console.show(blocks_of(found, session.console.width)))


def read_once(target: Target) -> status.Status:
    with closing(target.connect()) as connection:
        return status.read_status(connection, Namespace())


def watch_status(console: Console, target: Target) -> status.Status:
    """Shows the status every second until the run finishes; returns the last status.

    Ctrl-C ends the display, not the run. If the connection is lost, it connects again.
    """
    found = read_once(target)
    connection = target.connect()
    with ExitStack() as stack:
        show = (lambda blocks: None) if console.json else stack.enter_context(console.screen())
        try:
            while True:
                show(blocks_of(found, console.width))
                if found["status"] == "done":
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


def reconnect(target: Target, lost: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Returns a new connection, or the lost one while the server is not reachable."""
    try:
        return target.connect()
    except TargetError:
        return lost
