"""`verify`: compares the target with the source."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.context import open_session
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, print_result, split_names
from migrator.errors import DifferenceError, UsageError
from migrator.report import page
from migrator.report.content import redact_content
from migrator.report.verification_content import content_of_verify
from migrator.state.follow_lock import comparing
from migrator.terminal import render
from migrator.verification.junit import write_junit
from migrator.workflows.local_workers import preload_workers_early
from migrator.workflows.verify import LEVELS, Level, VerifyOptions
from migrator.workflows.verify import verify as compare
from migrator.workflows.verify_rows import WORKER_MODULES


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
    options = VerifyOptions(
        level=chosen, re_embed=re_embed, only=split_names(only), show_values=show_values, share=sample / 100
    )
    with session.source() as source:
        migration = session.migration(source)
        if chosen != "counts":
            preload_workers_early(migration, WORKER_MODULES)
        with session.target() as target, closing(target.connect()) as connection, comparing(connection):
            report = compare(migration, connection, target.dsn, options)
    if junit is not None:
        write_junit(junit, report.checks, report.not_applied)
    if html is not None:
        content = redact_content(content_of_verify(report.as_json()), session.console.mask)
        page.save_page(html, page.render_page(content))
    print_result(session.console, report.as_json(), lambda: render.show_verify(session.console, report))
    if not report.ok:
        raise typer.Exit(DifferenceError.exit_code)
