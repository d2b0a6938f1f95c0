"""`verify`, `report`, `export`: compare the target with the source, describe a run, rebuild the source."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.context import open_session
from migrator.commands.options import (
    DEFAULT,
    AsJson,
    ConfigPath,
    Quiet,
    Verbose,
    current_console,
    print_result,
    split_names,
)
from migrator.errors import DifferenceError, UsageError
from migrator.formatting import format_count
from migrator.report import page
from migrator.report.content import redact_content
from migrator.report.plan_content import content_of_plan
from migrator.report.run_content import content_of_run
from migrator.report.verification_content import attach, content_of_verify, read_verification
from migrator.state.follow_lock import comparing
from migrator.state.lock import exclusive
from migrator.state.records import Namespace
from migrator.terminal import render
from migrator.verification.junit import write_junit
from migrator.workflows.export import export as export_dump
from migrator.workflows.export_workers import ExportWorkers
from migrator.workflows.plan_file import read_plan
from migrator.workflows.verify import LEVELS, Level, VerifyOptions
from migrator.workflows.verify import verify as compare


def verify(
    level: Annotated[str, typer.Option(help=f"The level of the comparison: {', '.join(LEVELS)}.")] = "rows",
    junit: Annotated[Path | None, typer.Option(help="Write the checks as JUnit XML to this file.")] = None,
    re_embed: Annotated[
        int, typer.Option("--re-embed", min=0, help="Re-embed N samples and compare; this may cost money.")
    ] = 0,
    html: Annotated[Path | None, typer.Option(help="Write the checks as an HTML page to this file.")] = None,
    only: Annotated[str, typer.Option(help="Compare only these collections and tables (comma-separated).")] = "",
    sample: Annotated[
        float, typer.Option(min=0.1, max=100, help="The percentage of documents to rebuild at level roundtrip.")
    ] = 100,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show values that differ, even if they may be personal data.")
    ] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Compare the target with the source. Leaves no changes behind."""
    chosen: Level | None = next((each for each in LEVELS if each == level), None)
    if chosen is None:
        raise UsageError(f"unknown level {level!r}", hint=f"Use one of: {', '.join(LEVELS)}.")
    session = open_session(config, json, verbose, quiet)
    with (
        session.source() as source,
        session.target() as target,
        closing(target.connect()) as connection,
        comparing(connection),
    ):
        options = VerifyOptions(
            level=chosen, re_embed=re_embed, only=split_names(only), show_values=show_values, share=sample / 100
        )
        report = compare(session.migration(source), connection, target.dsn, options)
    if junit is not None:
        write_junit(junit, report.checks, report.not_applied)
    if html is not None:
        content = redact_content(content_of_verify(report.as_json()), session.console.mask)
        page.save_page(html, page.render_page(content))
    print_result(session.console, report.as_json(), lambda: render.show_verify(session.console, report))
    if not report.ok:
        raise typer.Exit(DifferenceError.exit_code)


def report(
    plan: Annotated[
        Path | None, typer.Option(help="Describe this saved plan; default: the run in the target.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="The file to write; default: report.html, or none with --json.")
    ] = None,
    verified: Annotated[
        Path | None, typer.Option("--verify", help="Include this result, which `migrate verify --json` printed.")
    ] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write an HTML page about a plan or a run. The page is one file; the run may be unfinished."""
    verification = None if verified is None else read_verification(verified)
    if plan is not None:
        console = current_console(json, quiet, verbose)
        found = content_of_plan(read_plan(plan))
    else:
        session = open_session(config, json, verbose, quiet)
        console = session.console
        with session.target() as target, closing(target.connect()) as connection:
            found = content_of_run(connection, Namespace(), session.definition)
        found["about"]["Target"] = target.label
    if verification is not None:
        found = attach(found, verification)
    content, path = redact_content(found, console.mask), html or Path("report.html")
    if html is not None or not json:
        page.save_page(path, page.render_page(content))
    print_result(console, content, lambda: console.print(f"{content['verdict']}\nReport written to {path}."))


def export(
    folder: Annotated[Path, typer.Argument(help="A new folder for the dump.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Rebuild the MongoDB database from PostgreSQL alone. Writes a mongodump folder."""
    session = open_session(config, json, verbose, quiet)
    with session.target() as target, closing(target.connect()) as connection, exclusive(connection):
        packages, count = session.definition.packages, session.config.engine.workers
        with closing(ExportWorkers(target.dsn, packages, count)) as workers:
            report = export_dump(connection, session.definition, folder, workers, session.console.emit)
    total, collections = sum(report.collections.values()), len(report.collections)
    summary = (
        f"{format_count(total, 'documents')} of {format_count(collections, 'collections')} written to {report.folder}"
    )
    print_result(session.console, report.as_json(), lambda: session.console.print(summary))
