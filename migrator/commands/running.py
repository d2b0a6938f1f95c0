"""`run` and `status`: the migration itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migrator import render, status
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
from migrator.journal import Place
from migrator.plan_file import read_plan, require_fit
from migrator.run import fingerprints_of, run_migration
from migrator.stages.plan import examine_target


def run(
    plan: Annotated[Path | None, typer.Option(help="Execute this plan, or refuse where it no longer fits.")] = None,
    only: Annotated[str, typer.Option(help="Only these collections, separated by commas.")] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="How many at once; default: engine.workers.")] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Build the schema, load, reconcile, constrain; goes on where an earlier run stopped."""
    here = session(config, json, verbose, quiet)
    settings = here.config
    if workers is not None:
        settings = settings.model_copy(update={"engine": settings.engine.model_copy(update={"workers": workers})})
    chosen = frozenset(name for name in (part.strip() for part in only.split(",")) if name)
    planned = None if plan is None else read_plan(plan)
    with here.source() as source, here.target(create=True) as target:
        if planned is not None:
            digest = examine_target(settings, here.concrete, target)[1]
            require_fit(planned, fingerprints_of(settings, here.concrete, source), digest)
        report = run_migration(settings, here.concrete, source, target, here.console.emit, chosen)
    answer(here.console, report.as_json(), lambda: render.show_run(here.console, report))


def status_command(
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Show where a run stands."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection:
        found = status.read_status(connection, Place())
    answer(here.console, found, lambda: render.show_status(here.console, found))
