"""`plan`, `schema`, `id`: the commands to use before a migration. None of them writes to the source or the target."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from migrator import __version__, ids
from migrator.commands.check import show_warnings
from migrator.commands.context import open_session
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, current_console, print_result
from migrator.errors import PlanError, UsageError
from migrator.postgres import ddl
from migrator.sources.base import Source
from migrator.terminal import render
from migrator.workflows.embedding import check_embedding
from migrator.workflows.fingerprints import collect_fingerprints
from migrator.workflows.local_workers import preload_workers_early
from migrator.workflows.migration import MigrationContext
from migrator.workflows.plan import plan as make_plan
from migrator.workflows.plan_file import write_plan
from migrator.workflows.preflight import PreflightReport, check_migration


def plan_command(
    out: Annotated[
        Path | None, typer.Option(help="Save the plan to this file; `run --plan FILE` executes exactly this plan.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Read at most N documents of each collection.")] = None,
    details: Annotated[str, typer.Option(help="Show the fields and findings of this collection, with examples.")] = "",
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Predict the result of `run` with a full rehearsal. Writes nothing to the source or the target."""
    session = open_session(config, json, verbose, quiet)
    with session.source() as source, session.existing_target() as target:
        require_collection(source, details)
        migration = session.migration(source)
        preload_workers_early(migration)
        preflight = check_migration(migration, target)
        show_warnings(session, preflight)
        check_embedding(migration, send_request=False)
        blockers = [f"{each.text}: {each.remedy}" for each in preflight.blockers]
        fingerprints = collect_fingerprints(migration)
        if preflight.lacks_owner:  # a blocker already; the rest of the plan is predicted without this policy
            migration = without_adopter(migration)
        report = make_plan(migration, target, fingerprints, sample, blockers)
    report = replace(report, about=describe(preflight))
    if out is not None:
        write_plan(out, report, sampled=sample is not None)

    def show() -> None:
        if details:
            render.show_details(session.console, report, details)
        else:
            render.show_plan(session.console, report)

    print_result(session.console, report.as_json(), show)
    if report.blockers:
        raise typer.Exit(PlanError.exit_code)


def without_adopter(migration: MigrationContext) -> MigrationContext:
    """Returns the migration without an owner for documents whose own one does not exist."""
    adopter = migration.definition.adopter
    return migration if adopter is None else replace(migration, config=adopter.without(migration.config))


def describe(preflight: PreflightReport) -> dict[str, str]:
    """Returns what a saved plan states about its origin."""
    created = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    direction = {"source": preflight.source, "target": preflight.target, "tenant": preflight.tenant}
    return {**direction, "created": created, "version": __version__}


def require_collection(source: Source, name: str) -> None:
    """Raises: `UsageError` if the source has no collection of this name; '' is accepted."""
    names = [each.name for each in source.collections()]
    if name and name not in names:
        near = get_close_matches(name, names)
        hint = f"Did you mean: {', '.join(near)}?" if near else "`migrate plan --json` lists all collections."
        raise UsageError(f"the source has no collection {name!r}", hint=hint)


def schema(
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Print the DDL that `run` executes."""
    session = open_session(config, json, verbose, quiet)
    rls = session.config.target.rls == "all"
    metadata = session.definition.metadata
    statements = [
        {"kind": each.kind, "table": each.table, "name": each.name, "sql": each.sql}
        for each in ddl.statements(metadata, rls)
    ]
    print_result(session.console, {"statements": statements}, lambda: sys.stdout.write(ddl.render(metadata, rls)))


def id_command(
    collection: Annotated[str, typer.Argument(help="The MongoDB collection.")],
    value: Annotated[str, typer.Argument(help="An ObjectId, a UUID, or any other `_id` as text.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Convert an ObjectId to its UUID, and back. Needs no configuration."""
    console = current_console(json, quiet, verbose)
    found = ids.convert(collection, value)
    print_result(console, found, lambda: console.print(found["value"] if found["from"] == "uuid" else found["uuid"]))
