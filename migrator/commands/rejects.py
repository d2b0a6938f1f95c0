"""`migrate rejects`: lists, shows, exports and retries the documents that could not be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.context import open_session
from migrator.commands.history import recorded
from migrator.commands.log_option import with_log_file
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, print_result
from migrator.errors import UsageError
from migrator.findings import REASONS, describe_remedy
from migrator.formatting import format_count
from migrator.state import rejects
from migrator.state.records import Namespace
from migrator.terminal import render, render_rejects
from migrator.workflows.retry_run import retry_rejects

rejects_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, show, retry or export rejected documents.",
    epilog="Example: migrate rejects list",
)


@rejects_app.command("list", epilog="Example: migrate rejects list --collection messages --reason orphan --limit 20")
@with_log_file
def rejects_list(
    collection: Annotated[str | None, typer.Option(help="List documents of this collection only.")] = None,
    reason: Annotated[str | None, typer.Option(help="List documents with this reason only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of documents on a page.")] = 100,
    page: Annotated[int, typer.Option(min=1, help="The page to list.")] = 1,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """List rejected documents, grouped by collection and reason."""
    session = open_session(config, json, verbose, quiet)  # imports the mappings, which declare reasons of their own
    if reason is not None and reason not in REASONS:
        raise UsageError(f"unknown reason {reason!r}", hint=f"Use one of: {', '.join(sorted(REASONS))}.")
    chosen = rejects.RejectFilter(collection=collection, reason=reason, limit=limit, page=page)
    with session.connection() as connection:
        found = rejects.list_rejects(connection, Namespace(), chosen)
        counts = rejects.count_rejects(connection, Namespace(), chosen)
    groups = [
        {"collection": name, "reason": reason, "count": count, "remedy": describe_remedy(reason)}
        for (name, reason), count in counts.items()
    ]
    result = {"rejects": [each.as_json() for each in found], "groups": groups, "total": sum(counts.values())}
    print_result(session.console, result, lambda: render_rejects.show_rejects(session.console, found, counts, chosen))


@rejects_app.command("show", epilog="Example: migrate rejects show 17")
@with_log_file
def rejects_show(
    number: Annotated[int, typer.Argument(help="The ID that `migrate rejects list` shows.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Show one rejected document completely, as extended JSON."""
    session = open_session(config, json, verbose, quiet)
    with session.connection() as connection:
        found = rejects.show_reject(connection, Namespace(), number)
    session.console.print_json(found.as_json())


@rejects_app.command("retry", epilog="Example: migrate rejects retry")
@with_log_file
def rejects_retry(
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Retry rejected documents with the current settings and the current source."""
    session = open_session(config, json, verbose, quiet)
    with recorded(session, "rejects retry") as entry, session.source() as source, session.target() as target:
        entry |= {"source": source.label, "target": target.label}
        retried, report = retry_rejects(session.migration(source), target)
        entry |= {"run": report.run, "status": report.status}
    result = {**retried.as_json(), **report.as_json()}
    print_result(session.console, result, lambda: render.show_run(session.console, report))


@rejects_app.command("export", epilog="Example: migrate rejects export rejects.jsonl")
@with_log_file
def rejects_export(
    file: Annotated[Path, typer.Argument(help="A new file; it will contain one document per line (JSON Lines).")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write all rejected documents to a file as canonical extended JSON, with reasons."""
    session = open_session(config, json, verbose, quiet)
    with session.connection() as connection:
        count = rejects.export_rejects(connection, Namespace(), file)
    summary = f"{format_count(count, 'rejected documents')} written to {file}"
    print_result(session.console, {"file": str(file), "rejects": count}, lambda: session.console.print(summary))
