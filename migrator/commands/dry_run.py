"""`run --dry-run`: a rehearsal of run and verify, for people and for continuous integration."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import typer

from migrator.commands.context import Session
from migrator.commands.options import print_result
from migrator.errors import DifferenceError, UsageError
from migrator.state.records import has_records
from migrator.targets.base import Target
from migrator.workflows.fingerprints import collect_fingerprints
from migrator.workflows.migration import MigrationContext
from migrator.workflows.plan_file import Plan, require_current
from migrator.workflows.run_options import WHERES, Where


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `migrate run`: the collections to load (none: all), and how to rehearse."""

    only: frozenset[str]
    where: Where
    junit: Path | None


def execute_dry_run(session: Session, plan: Plan | None, options: RunOptions) -> None:
    """Rehearses run and verify, and prints the report.

    Exit code 0: the run would end without a difference; 3: it would not start; 4: its result would differ.
    """
    from migrator.terminal import render_dry_run  # a run imports neither this nor the verification
    from migrator.verification.junit import write_junit
    from migrator.workflows.dry_run import dry_run

    with session.source() as source, session.existing_target() as target:
        if plan is not None:
            check_plan(session.migration(source), plan, target)
        report = dry_run(session.migration(source), target, options.where, options.only)
    if options.junit is not None and report.verified is not None:
        write_junit(options.junit, report.verified.checks)
    print_result(session.console, report.as_json(), lambda: render_dry_run.show_dry_run(session.console, report))
    if not report.ok:
        raise typer.Exit(DifferenceError.exit_code)


def check_plan(migration: MigrationContext, plan: Plan, target: Target | None) -> None:
    """Raises: `PlanError` if a saved plan is out of date."""
    from migrator.workflows.plan import examine_target  # a run without a plan does not import the rehearsal

    digest: str | None = examine_target(migration.config, migration.definition, target)[1]
    if target is not None:
        with closing(target.connect()) as connection:
            if has_records(connection, migration.namespace):
                digest = None
    require_current(plan, collect_fingerprints(migration), digest)


def check_options(dry_run: bool, where: str, junit: Path | None, only: frozenset[str]) -> RunOptions:
    """Returns the checked options. Raises: `UsageError` for options that exclude each other."""
    chosen: Where | None = next((each for each in WHERES if each == where), None)
    if chosen is None:
        raise UsageError(f"unknown value for --rehearse-in: {where!r}", hint=f"Use one of: {', '.join(WHERES)}.")
    if junit is not None and not dry_run:
        raise UsageError("run --junit requires --dry-run", hint="After a run, use: migrate verify --junit FILE")
    if junit is not None and only:
        raise UsageError(
            "--junit and --only exclude each other: a dry run with --only does not verify", hint="Remove one of them."
        )
    return RunOptions(only=only, where=chosen, junit=junit)
