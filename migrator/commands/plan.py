"""`init`, `plan`, `schema`, `id`: what comes before a migration; nothing here writes in source or target."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from migrator import ids
from migrator.commands.context import (
    DEFAULT,
    AsJson,
    ConfigPath,
    Quiet,
    Session,
    Verbose,
    answer,
    current_console,
    session,
)
from migrator.commands.context import _consoles as _consoles
from migrator.config.starter import STARTER
from migrator.errors import PlanError, UsageError
from migrator.postgres import ddl
from migrator.sources.base import Source
from migrator.targets.base import Target
from migrator.terminal import render
from migrator.workflows.plan import plan as make_plan
from migrator.workflows.plan_file import write_plan
from migrator.workflows.run import check_embedding, fingerprints_of


def init(
    path: Annotated[Path | None, typer.Argument(help="Where to write it; default: what --config names.")] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write a commented starter configuration; never over an existing file."""
    console = current_console(json, quiet, verbose)
    path = path or config
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", hint="Name another file, or remove this one.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    answer(console, {"path": str(path)}, lambda: console.print(f"Wrote {path}. Edit it, then: migrate plan -c {path}"))


def plan_command(
    out: Annotated[Path | None, typer.Option(help="Save the plan; `run --plan` executes exactly that.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Read only so many documents of each collection.")] = None,
    details: Annotated[str, typer.Option(help="Show this collection's fields and findings, with examples.")] = "",
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Foretell what `run` will do, by rehearsing it; writes nothing in source or target."""
    here = session(config, json, verbose, quiet)
    with here.source() as source, existing_target(here) as target:
        require_collection(source, details)
        fingerprints = fingerprints_of(here.config, here.definition, source)
        check_embedding(here.config, here.definition, source, ask=False)
        report = make_plan(here.config, here.definition, source, target, fingerprints, here.console.emit, sample)
    if out is not None:
        write_plan(out, report, sampled=sample is not None)
    if details:
        answer(here.console, report.as_json(), lambda: render.show_details(here.console, report, details))
    else:
        answer(here.console, report.as_json(), lambda: render.show_plan(here.console, report))
    if report.blockers:
        raise typer.Exit(PlanError.exit_code)


def require_collection(source: Source, name: str) -> None:
    """Raises `UsageError` for a name that the source does not have, before the work; '' is no name."""
    names = [each.name for each in source.collections()]
    if name and name not in names:
        near = ", ".join(get_close_matches(name, names)) or "migrate plan --json names them all"
        raise UsageError(f"the source has no collection {name!r}", hint=f"Did you mean: {near}?")


@contextmanager
def existing_target(here: Session) -> Iterator[Target | None]:
    """The target, or None where an embedded one has yet to be made: `plan` must not make it."""
    kind, _, folder = here.config.target.url.partition(":")
    if kind == "embedded" and not Path(folder).exists():
        yield None
        return
    with here.target() as target:
        yield target


def schema(
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Print the DDL that `run` executes."""
    here = session(config, json, verbose, quiet)
    rls = here.config.target.rls == "all"
    shown = [
        {"kind": each.kind, "table": each.table, "name": each.name, "sql": each.sql}
        for each in ddl.statements(here.definition.metadata, rls)
    ]
    answer(here.console, {"statements": shown}, lambda: sys.stdout.write(ddl.render(here.definition.metadata, rls)))


def id_command(
    collection: Annotated[str, typer.Argument(help="The MongoDB collection.")],
    value: Annotated[str, typer.Argument(help="An ObjectId, a UUID, or any other id.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Convert an ObjectId to its UUID, and back; needs no configuration."""
    console = current_console(json, quiet, verbose)
    found = ids.convert(collection, value)
    answer(console, found, lambda: console.print(str(found["uuid"] if found["from"] != "uuid" else found["value"])))
