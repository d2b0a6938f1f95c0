"""`migrate rejects …`: the documents that could not be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.context import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, answer, session
from migrator.report.content import shorten
from migrator.state import rejects
from migrator.state.records import Namespace
from migrator.terminal import render
from migrator.workflows.run import retry_rejects

SHOWN = 60  # characters of an `_id` in a table
rejects_app = typer.Typer(no_args_is_help=True, help="The documents that could not be loaded, with reasons.")


@rejects_app.command("list", epilog="Example: migrate rejects list --limit 20")
def rejects_list(
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 100,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """List rejected documents with their reasons."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection:
        found = rejects.list_rejects(connection, Namespace(), limit)
    shown = [(each.id, each.collection, shorten(each.source_id, SHOWN), each.reason, each.detail) for each in found]
    columns = ("id", "collection", "_id", "reason", "detail")
    answer(here.console, {"rejects": [e.as_json() for e in found]}, lambda: here.console.table(columns, shown))


@rejects_app.command("show", epilog="Example: migrate rejects show 17")
def rejects_show(
    number: Annotated[int, typer.Argument(help="The number that `rejects list` shows.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Show one rejected document whole, as extended JSON."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection:
        found = rejects.show_reject(connection, Namespace(), number)
    here.console.print_json(found.as_json())


@rejects_app.command("retry", epilog="Example: migrate rejects retry")
def rejects_retry(
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Try rejected documents again, with the settings and the source as they are now."""
    here = session(config, json, verbose, quiet)
    with here.source() as source, here.target() as target:
        retried, report = retry_rejects(here.config, here.definition, source, target, here.console.emit)
    answer(here.console, {**retried.as_json(), **report.as_json()}, lambda: render.show_run(here.console, report))


@rejects_app.command("export", epilog="Example: migrate rejects export rejects.jsonl")
def rejects_export(
    file: Annotated[Path, typer.Argument(help="A new file: one JSON document a line.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write all rejected documents as canonical extended JSON, with reasons."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection:
        count = rejects.export_rejects(connection, Namespace(), file)
    told = {"file": str(file), "rejects": count}
    answer(here.console, told, lambda: here.console.print(f"{count:,} rejected documents in {file}"))
