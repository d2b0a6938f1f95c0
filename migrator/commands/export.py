"""`export`: rebuilds the source from PostgreSQL alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.context import open_session
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, print_result
from migrator.formatting import format_count
from migrator.state.lock import exclusive
from migrator.workflows.export import export as export_dump
from migrator.workflows.export_workers import ExportWorkers


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
