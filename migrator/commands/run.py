"""`run` and `status`: the migration itself."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from migrator.commands.context import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, answer, session
from migrator.commands.context import _consoles as _consoles
from migrator.commands.dry_run import check_options, check_plan, rehearse_run
from migrator.errors import TargetError
from migrator.events import Notice
from migrator.monitoring import status
from migrator.state.records import Namespace
from migrator.targets.base import Target
from migrator.terminal import render
from migrator.terminal.console import Console
from migrator.terminal.render_status import blocks_of
from migrator.translation import native
from migrator.workflows.plan_file import differing, read_plan
from migrator.workflows.run import run_migration

WATCH = 1.0  # seconds
UNCOMPILED = "Installed without a C compiler: documents are read by Python alone, slower. Install gcc and reinstall."


def run(
    plan: Annotated[Path | None, typer.Option(help="Execute this plan, or refuse where it no longer fits.")] = None,
    only: Annotated[str, typer.Option(help="Only these collections, separated by commas.")] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="How many at once; default: engine.workers.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rehearse run and verify; say what they take.")] = False,
    rehearse_in: Annotated[str, typer.Option(help="embedded, or target: a database beside the target.")] = "embedded",
    junit: Annotated[Path | None, typer.Option(help="With --dry-run: write the checks as JUnit XML.")] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Build the schema, load, reconcile, constrain; goes on where an earlier run stopped."""
    where = check_options(dry_run, rehearse_in, junit, only)
    here = session(config, json, verbose, quiet)
    settings = here.config
    if workers is not None:
        settings = settings.model_copy(update={"engine": settings.engine.model_copy(update={"workers": workers})})
    chosen = frozenset(name for name in (part.strip() for part in only.split(",")) if name)
    planned = None if plan is None else read_plan(plan)
    if dry_run:
        rehearse_run(here, settings, planned, chosen, where, junit)
        return
    if native.Cutter is None:
        here.console.emit(Notice(text=UNCOMPILED))
    with here.source() as source, here.target(create=True) as target:
        if planned is not None:
            check_plan(here, settings, planned, source, target)
        report = run_migration(settings, here.definition, source, target, here.console.emit, chosen)
        if planned is not None and not chosen and (others := differing(planned, report)):
            text = f"not as the plan foretold, for rows of others have come or gone since: {', '.join(others)}"
            here.console.emit(Notice(text=text, level="warning"))
    answer(here.console, report.as_json(), lambda: render.show_run(here.console, report))


def status_command(
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until the run is done or Ctrl-C.")] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Show where a run stands."""
    here = session(config, json, verbose, quiet)
    with here.target() as target:
        found = watch_status(here.console, target) if watch else read_once(target)
    if here.console.json or not watch:
        answer(here.console, found, lambda: here.console.show(blocks_of(found)))


def read_once(target: Target) -> status.Status:
    with closing(target.connect()) as connection:
        return status.read_status(connection, Namespace())


def watch_status(console: Console, target: Target) -> status.Status:
    """Shows the status every second until the run is done, or Ctrl-C: that ends the watching, not the run. The last
    status. A server that is away for a while is waited for."""
    found = read_once(target)
    connection = target.connect()
    with ExitStack() as shown:
        show = (lambda blocks: None) if console.json else shown.enter_context(console.screen())
        try:
            while True:
                show(blocks_of(found))
                if found["status"] == "done":
                    return found
                time.sleep(WATCH)
                try:
                    found = status.read_status(connection, Namespace())
                except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
                    connection = connect_again(target, connection)
        except KeyboardInterrupt:
            return found
        finally:
            connection.close()


def connect_again(target: Target, lost: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """The next connection, or the lost one where there is none yet."""
    try:
        return target.connect()
    except TargetError:
        return lost
