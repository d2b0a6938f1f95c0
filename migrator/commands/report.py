"""`report`: describes a plan or a run on one HTML page."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.context import open_session
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, current_console, print_result
from migrator.report import page
from migrator.report.content import redact_content
from migrator.report.plan_content import content_of_plan
from migrator.report.run_content import content_of_run
from migrator.report.verification_content import attach, read_verification
from migrator.state.records import Namespace
from migrator.workflows.plan_file import read_plan


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
