"""`scaffold`: drafts a migration from the documents of a source."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, current_console, print_result
from migrator.errors import UsageError
from migrator.events import Notice
from migrator.formatting import format_count
from migrator.mapping.loader import load_settings
from migrator.masking import Secrets, url_secrets
from migrator.scaffold.asking import Advisor
from migrator.scaffold.workflow import Names, ScaffoldResult, scaffold
from migrator.sources import open_source
from migrator.targets import open_target


def scaffold_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the project; nothing is overwritten.")],
    source: Annotated[
        str, typer.Option(help="A mongodump folder or archive, or mongodb://… (default: [source] of --config).")
    ] = "",
    database: Annotated[str, typer.Option(help="The database, if the source has several.")] = "",
    target: Annotated[
        str, typer.Option(help="Draft onto the tables of this PostgreSQL: postgresql://… or embedded:FOLDER.")
    ] = "",
    ask: Annotated[
        str,
        typer.Option(
            help="With --target: ask the language model at this OpenAI-compatible URL about fields and columns that"
            " names do not match. It gets names, types and counts, never values. The key is read from OPENAI_API_KEY."
        ),
    ] = "",
    ask_model: Annotated[str, typer.Option(help="The model to ask.")] = "gpt-4o-mini",
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Draft a migration of any application: mappings, schema, configuration, and a review of each guess.

    Reads all documents of the source once; writes nothing to it.
    """
    console = current_console(json, quiet, verbose)
    if ask and not target:
        raise UsageError("--ask needs --target: otherwise there are no columns to match", hint="Leave out --ask.")
    key = os.environ.get("OPENAI_API_KEY", "")
    url, name = source, database or None
    if not source and not config.exists():
        raise UsageError("no source is named", hint="Name it with --source, or in a configuration with --config.")
    if not source:
        settings = load_settings(config, os.environ).source
        url, name = settings.url, name or settings.database
    console.mask = Secrets([*filter(None, [key]), *url_secrets(url), *url_secrets(target), *url_secrets(ask)]).mask

    def warn(text: str) -> None:
        console.emit(Notice(text=text, level="warning"))

    names = Names(source=url, database=name, target=target or None)
    with ExitStack() as opened:
        found = opened.enter_context(closing(open_source(url, name, warn)))
        existing = opened.enter_context(closing(open_target(target, create=False, notify=warn))) if target else None
        advisor = Advisor(ask, ask_model, key).ask if ask else None
        result = scaffold(found, existing, names, folder, console.emit, advisor)
    print_result(console, result.as_json(), lambda: console.print(describe(result, folder)))


def describe(result: ScaffoldResult, folder: Path) -> str:
    """Returns what was drafted, and what to do next."""
    draft = result.draft
    keys = sum(column.is_key for table in draft.tables for column in table.all_columns)
    tables = sum(1 + len(list(table.descendants)) for table in draft.tables)
    questions = sum(len(table.questions) for table in draft.tables)
    return (
        f"Drafted {format_count(tables, 'tables')} with {format_count(keys, 'foreign keys')}"
        f" from {format_count(draft.documents, 'documents')} in {folder}.\n"
        f"Read {folder / 'REVIEW.md'} ({format_count(questions, 'questions')})."
        f" Next: cd {folder} && migrate plan"
    )
