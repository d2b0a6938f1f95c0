"""`verify`, `report`, `export`: what can be shown of a migration."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.context import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, answer, current_console, session
from migrator.commands.context import _consoles as _consoles
from migrator.errors import DifferenceError, UsageError
from migrator.report import page
from migrator.report.content import content_of_plan, mask_content
from migrator.report.run_content import content_of_run
from migrator.report.verification_content import attach, content_of_verify, read_verification
from migrator.state.lock import exclusive
from migrator.state.records import Namespace
from migrator.terminal import render
from migrator.verification.junit import write_junit
from migrator.workflows.export import export as rebuild
from migrator.workflows.plan_file import read_plan
from migrator.workflows.verify import LEVELS, Level
from migrator.workflows.verify import verify as prove


def verify(
    level: Annotated[str, typer.Option(help=f"How deep: {', '.join(LEVELS)}.")] = "rows",
    junit: Annotated[Path | None, typer.Option(help="Write the checks as JUnit XML.")] = None,
    again: Annotated[
        int, typer.Option(min=0, help="Embed so many texts again, even if it costs something, and compare.")
    ] = 0,
    html: Annotated[Path | None, typer.Option(help="Write the checks as one page.")] = None,
    only: Annotated[str, typer.Option(help="Collections and tables to look at, separated by commas.")] = "",
    sample: Annotated[
        float, typer.Option(min=0.1, max=100, help="Percent of the documents to rebuild, at level roundtrip.")
    ] = 100,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show values that differ even where they may be personal.")
    ] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Prove the target against the source; writes nothing that stays."""
    chosen: Level | None = next((each for each in LEVELS if each == level), None)
    if chosen is None:
        raise UsageError(f"there is no level {level!r}", hint=f"Choose one of {', '.join(LEVELS)}.")
    here = session(config, json, verbose, quiet)
    with (
        here.source() as source,
        here.target() as target,
        closing(target.connect()) as connection,
        exclusive(connection),
    ):
        report = prove(
            here.config, here.definition, source, connection, target.dsn, chosen, here.console.emit, again,
            only=frozenset(name for each in only.split(",") if (name := each.strip())),
            show=show_values, share=sample / 100,
        )  # fmt: skip
    if junit is not None:
        write_junit(junit, report.checks)
    if html is not None:
        content = mask_content(content_of_verify(report.as_json()), here.console.mask)
        page.save_page(html, page.render_page(content))
    answer(here.console, report.as_json(), lambda: render.show_verify(here.console, report))
    if not report.ok:
        raise typer.Exit(DifferenceError.exit_code)


def report(
    plan: Annotated[Path | None, typer.Option(help="A saved plan; without it, the run in the target.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Where to write the page; default: report.html, with --json none.")
    ] = None,
    verified: Annotated[
        Path | None, typer.Option("--verify", help="What `verify --json` printed, to show with the run.")
    ] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write one self-contained page on a plan, or on a run, finished or not."""
    proof = None if verified is None else read_verification(verified)
    if plan is not None:
        console = current_console(json, quiet, verbose)
        found = content_of_plan(read_plan(plan))
    else:
        here = session(config, json, verbose, quiet)
        console = here.console
        with here.connection() as connection:
            found = content_of_run(connection, Namespace(), here.definition)
    if proof is not None:
        found = attach(found, proof)
    content, path = mask_content(found, console.mask), html or Path("report.html")
    if html is not None or not json:
        page.save_page(path, page.render_page(content))
    answer(console, content, lambda: console.print(f"{content['verdict']}\nThe whole story is in {path}."))


def export(
    folder: Annotated[Path, typer.Argument(help="A new folder for the dump.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Rebuild the MongoDB database as a mongodump folder, from PostgreSQL alone."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection, exclusive(connection):
        report = rebuild(connection, Namespace(), here.definition.mappings, folder, here.console.emit)
    told = f"{sum(report.collections.values()):,} documents of {len(report.collections)} collections in {report.folder}"
    answer(here.console, report.as_json(), lambda: here.console.print(told))
