"""`run`: the migration itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.check import show_warnings
from migrator.commands.context import Session, open_session
from migrator.commands.dry_run import check_options, check_plan, execute_dry_run
from migrator.commands.follow_options import StopAt, UntilCaughtUp, read_options
from migrator.commands.history import recorded
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, confirm, print_result, split_names
from migrator.errors import UsageError
from migrator.events import Notice
from migrator.targets.base import Target
from migrator.terminal import render
from migrator.terminal.render_check import show_direction
from migrator.translation import native
from migrator.workflows.local_workers import preload_workers_early
from migrator.workflows.migration import MigrationContext
from migrator.workflows.plan_file import Plan, find_deviations, read_plan
from migrator.workflows.preflight import check_migration, require_no_blockers
from migrator.workflows.run import run_migration
from migrator.workflows.run_options import FollowOptions

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
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Receive the changes of a live source during the run; apply them after it."),
    ] = False,
    until_caught_up: UntilCaughtUp = False, stop_at: StopAt = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation before the first run.")] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Run the migration, or resume an interrupted run.

    Stages: create the schema, load, reconcile, embed, create indexes and constraints.
    """
    options = check_options(dry_run, rehearse_in, junit, split_names(only))
    following = check_follow(follow, read_options(until_caught_up, stop_at), options.only, dry_run=dry_run)
    session = open_session(config, json, verbose, quiet)
    if workers is not None:
        engine = session.config.engine.model_copy(update={"workers": workers})
        session = replace(session, config=session.config.model_copy(update={"engine": engine}))
    saved = None if plan is None else read_plan(plan)
    if dry_run:
        execute_dry_run(session, saved, options)
    else:
        ask = not yes and saved is None and not json and sys.stdin.isatty()
        execute_run(session, saved, options.only, ask=ask, following=following)


def check_follow(follow: bool, options: FollowOptions, only: frozenset[str], *, dry_run: bool) -> FollowOptions | None:
    """Returns the options of --follow, None without it. Raises: `UsageError` for options that do not fit."""
    if not follow:
        if options != FollowOptions():
            raise UsageError("--until-caught-up and --stop-at need --follow")
        return None
    if only or dry_run:
        raise UsageError(
            "--follow cannot be combined with --only or --dry-run",
            hint="Following needs all collections. Rehearse with `migrate run --dry-run` first.",
        )
    return options


def execute_run(
    session: Session,
    plan: Plan | None,
    only: frozenset[str],
    *,
    ask: bool = False,
    following: FollowOptions | None = None,
) -> None:
    """Runs the migration and prints the report. `ask`: for confirmation before the first run of a target.

    `following`: apply the changes of the source after the run.
    """
    if native.Projector is None:
        session.console.emit(Notice(text=NOT_COMPILED))
    with recorded(session, "run") as entry, session.source() as source, session.target(create=True) as target:
        entry |= {"source": source.label, "target": target.label}
        migration = session.migration(source)
        if plan is not None:
            check_plan(migration, plan, target)
        preload_workers_early(migration)
        preflight = check_migration(migration, target)
        show_warnings(session, preflight)
        require_no_blockers(preflight)
        if ask and not preflight.has_run:
            show_direction(session.console, preflight)
            confirm("Start the migration?")
        if following is not None:
            run_and_follow(session, migration, target, following)
            entry |= {"status": "done"}
            return
        report = run_migration(migration, target, only)
        entry |= {"run": report.run, "status": report.status}
        if plan is not None and not only and (others := find_deviations(plan, report)):
            session.warn(
                "the result differs from the plan because other applications changed the target since:"
                f" {', '.join(others)}"
            )
    print_result(session.console, report.as_json(), lambda: render.show_run(session.console, report))


def run_and_follow(session: Session, migration: MigrationContext, target: Target, following: FollowOptions) -> None:
    """Receives changes during a run, and applies them after it."""
    from migrator.commands.follow import show as show_follow  # other runs do not import the following
    from migrator.workflows.follow import follow as follow_source
    from migrator.workflows.receiving import Receiving

    migration = replace(migration, follows=True)
    receiving = Receiving(migration, target)
    try:
        report = run_migration(migration, target, on_opened=receiving.begin)
        if not session.console.json:
            render.show_run(session.console, report)
        followed = follow_source(migration, target, following, receiving)
    finally:
        receiving.stop()
    result = {**report.as_json(), "follow": followed.as_json()}
    print_result(session.console, result, lambda: show_follow(session, followed))
