"""`run --dry-run`: the rehearsal of a run, for people and for continuous integration."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import typer

from migrator.commands.context import Session, answer
from migrator.commands.plan import existing_target
from migrator.config.models import Config
from migrator.errors import DifferenceError, UsageError
from migrator.events import Emit, Notice
from migrator.sources.base import Source
from migrator.state.records import Namespace, has_records
from migrator.targets.base import Target
from migrator.terminal import render_dry_run
from migrator.verification.junit import write_junit
from migrator.workflows.dry_run import WHERES, Where, dry_run
from migrator.workflows.plan import examine_target
from migrator.workflows.plan_file import Plan, require_fit
from migrator.workflows.run import fingerprints_of


def rehearse_run(
    here: Session, settings: Config, planned: Plan | None, only: frozenset[str], where: Where, junit: Path | None
) -> None:
    """Exit code 0: the run would end well and be proven; 3: it would not begin; 4: its result would not be right."""
    with here.source() as source, existing_target(here) as target:
        if planned is not None:
            check_plan(here, settings, planned, source, target)
        modest = for_rehearsal(settings, here.console.emit)
        report = dry_run(modest, here.definition, source, target, here.console.emit, where=where, only=only)
    if junit is not None and report.verified is not None:
        write_junit(junit, report.verified.checks)
    answer(here.console, report.as_json(), lambda: render_dry_run.show_rehearsal(here.console, report))
    if not report.ok:
        raise typer.Exit(DifferenceError.exit_code)


def check_plan(here: Session, settings: Config, planned: Plan, source: Source, target: Target | None) -> None:
    """Raises `PlanError` where a plan does not fit what is there now."""
    digest: str | None = examine_target(settings, here.definition, target)[1]
    if target is not None:
        with closing(target.connect()) as connection:
            if has_records(connection, Namespace()):
                digest = None
    require_fit(planned, fingerprints_of(settings, here.definition, source), digest)


def check_options(dry_run: bool, where: str, junit: Path | None, only: str) -> Where:
    """Raises `UsageError` for what does not go together."""
    chosen: Where | None = next((each for each in WHERES if each == where), None)
    if chosen is None:
        raise UsageError(f"there is no --rehearse-in {where!r}", hint=f"Choose one of {', '.join(WHERES)}.")
    if junit is not None and not dry_run:
        raise UsageError("run --junit goes with --dry-run", hint="After a real run: migrate verify --junit FILE")
    if junit is not None and only:
        raise UsageError(
            "--junit holds what a verification found, and with --only there is none", hint="Leave one out."
        )
    return chosen


def for_rehearsal(settings: Config, emit: Emit) -> Config:
    """Without what cannot be rehearsed: workers that do not reach the database, vectors that would be paid twice."""
    if settings.engine.executor != "local":
        emit(Notice(text="A rehearsal works with processes of this machine only.", level="warning"))
        settings = settings.model_copy(update={"engine": settings.engine.model_copy(update={"executor": "local"})})
    if settings.embedding.provider == "openai":
        emit(
            Notice(
                text="A rehearsal asks no service for embeddings: time and cost of these come on top.", level="warning"
            )
        )
        nobody = settings.embedding.model_copy(update={"provider": "none"})
        settings = settings.model_copy(update={"embedding": nobody})
    return settings
