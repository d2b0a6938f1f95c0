"""The commands: parse, call, exit code. What they do is in the stages; how it looks, in console and render.

The only place that catches: a known error is printed with cause, remedy and exit code; anything else is a defect, and
its traceback goes to a log.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from migrator import __version__, ddl, ids, page, render, status
from migrator.checks.junit import write_junit
from migrator.cli_rejects import rejects_app
from migrator.cli_session import (
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
from migrator.cli_session import _consoles as _consoles
from migrator.config import STARTER
from migrator.console import Console
from migrator.driver import explain
from migrator.errors import DifferenceError, MigrateError, PlanError, StoppedError, UsageError
from migrator.journal import Place
from migrator.lock import exclusive
from migrator.page_content import content_of_plan, mask_content
from migrator.page_journal import content_of_run
from migrator.plan_file import read_plan, require_fit, write_plan
from migrator.run import fingerprints_of, refuse_unsupported, run_migration
from migrator.sources.base import Source
from migrator.stages.export import export as rebuild
from migrator.stages.plan import examine_target
from migrator.stages.plan import plan as make_plan
from migrator.stages.revert import revert as take_back
from migrator.stages.revert import survey
from migrator.stages.verify import LEVELS, Level
from migrator.stages.verify import verify as prove
from migrator.targets.base import Target

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Move a MongoDB application to PostgreSQL without losing a byte.")  # fmt: skip
app.add_typer(rejects_app, name="rejects")


@app.command(epilog="Example: migrate init migrate.toml")
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


@app.command("plan", epilog="Example: migrate plan --out plan.json")
def plan_command(
    out: Annotated[Path | None, typer.Option(help="Save the plan; `run --plan` executes exactly that.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Read only so many documents of each collection.")] = None,
    details: Annotated[str, typer.Option(help="Show this collection's fields and findings, with examples.")] = "",
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Foretell what `run` will do, by rehearsing it; writes nothing in source or target."""
    here = session(config, json, verbose, quiet)
    refuse_unsupported(here.config)
    with here.source() as source, existing_target(here) as target:
        require_collection(source, details)
        fingerprints = fingerprints_of(here.config, here.concrete, source)
        report = make_plan(here.config, here.concrete, source, target, fingerprints, here.console.emit, sample)
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


@app.command(epilog="Example: migrate run --plan plan.json")
def run(
    plan: Annotated[Path | None, typer.Option(help="Execute this plan, or refuse where it no longer fits.")] = None,
    only: Annotated[str, typer.Option(help="Only these collections, separated by commas.")] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="How many at once; default: engine.workers.")] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Build the schema, load, reconcile, constrain; goes on where an earlier run stopped."""
    here = session(config, json, verbose, quiet)
    settings = here.config
    if workers is not None:
        settings = settings.model_copy(update={"engine": settings.engine.model_copy(update={"workers": workers})})
    chosen = frozenset(name for name in (part.strip() for part in only.split(",")) if name)
    planned = None if plan is None else read_plan(plan)
    with here.source() as source, here.target(create=True) as target:
        if planned is not None:
            digest = examine_target(settings, here.concrete, target)[1]
            require_fit(planned, fingerprints_of(settings, here.concrete, source), digest)
        report = run_migration(settings, here.concrete, source, target, here.console.emit, chosen)
    answer(here.console, report.as_json(), lambda: render.show_run(here.console, report))


@app.command("status", epilog="Example: migrate status --json")
def status_command(
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Show where a run stands."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection:
        found = status.read_status(connection, Place())
    answer(here.console, found, lambda: render.show_status(here.console, found))


@app.command(epilog="Example: migrate verify --level roundtrip --junit verify.xml")
def verify(
    level: Annotated[str, typer.Option(help=f"How deep: {', '.join(LEVELS)}.")] = "rows",
    junit: Annotated[Path | None, typer.Option(help="Write the checks as JUnit XML.")] = None,
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
        report = prove(here.config, here.concrete, source, connection, target.dsn, chosen, here.console.emit)
    if junit is not None:
        write_junit(junit, report.checks)
    answer(here.console, report.as_json(), lambda: render.show_verify(here.console, report))
    if not report.ok:
        raise typer.Exit(DifferenceError.exit_code)


@app.command(epilog="Example: migrate revert --yes")
def revert(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also remove what depends on migrated rows.")] = False,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Take the migration back, and only the migration."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection, exclusive(connection):
        found = survey(connection, here.concrete)
        if not yes:
            confirm(here.console, sum(found.tables.values()))
        report = take_back(connection, here.concrete, force=force, emit=here.console.emit)
    answer(here.console, report.as_json(), lambda: render.show_revert(here.console, report))


def confirm(console: Console, rows: int) -> None:
    if console.json or not sys.stdin.isatty():
        raise UsageError("revert asks before it removes anything, and nobody is here to answer", hint="Add --yes.")
    if not typer.confirm(f"Remove {rows:,} migrated rows and everything else that migrate made in this target?"):
        raise StoppedError("nothing was changed")


@app.command(epilog="Example: migrate report --plan plan.json --html plan.html")
def report(
    plan: Annotated[Path | None, typer.Option(help="A saved plan; without it, the run in the target.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Where to write the page; default: report.html, with --json none.")
    ] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write one self-contained page on a plan, or on a run, finished or not."""
    if plan is not None:
        console = current_console(json, quiet, verbose)
        found = content_of_plan(read_plan(plan))
    else:
        here = session(config, json, verbose, quiet)
        console = here.console
        with here.connection() as connection:
            found = content_of_run(connection, Place(), here.concrete.mappings)
    content, path = mask_content(found, console.mask), html or Path("report.html")
    if html is not None or not json:
        page.save_page(path, page.render_page(content))
    answer(console, content, lambda: console.print(f"{content['verdict']}\nThe whole story is in {path}."))


@app.command(epilog="Example: migrate export rebuilt && mongorestore rebuilt")
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder for the dump.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Rebuild the MongoDB database as a mongodump folder, from PostgreSQL alone."""
    here = session(config, json, verbose, quiet)
    with here.connection() as connection, exclusive(connection):
        report = rebuild(connection, Place(), here.concrete.mappings, folder, here.console.emit)
    told = f"{sum(report.collections.values()):,} documents of {len(report.collections)} collections in {report.folder}"
    answer(here.console, report.as_json(), lambda: here.console.print(told))


@app.command(epilog="Example: migrate schema > schema.sql")
def schema(
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Print the DDL that `run` executes."""
    here = session(config, json, verbose, quiet)
    rls = here.config.target.rls == "all"
    shown = [
        {"kind": each.kind, "table": each.table, "name": each.name, "sql": each.sql}
        for each in ddl.statements(here.concrete.metadata, rls)
    ]
    answer(here.console, {"statements": shown}, lambda: sys.stdout.write(ddl.render(here.concrete.metadata, rls)))


@app.command("id", epilog="Example: migrate id users 64baaaafd882a3fac3fb6a2b")
def id_command(
    collection: Annotated[str, typer.Argument(help="The MongoDB collection.")],
    value: Annotated[str, typer.Argument(help="An ObjectId, a UUID, or any other id.")],
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Convert an ObjectId to its UUID, and back; needs no configuration."""
    console = current_console(json, quiet, verbose)
    found = ids.convert(collection, value)
    answer(console, found, lambda: console.print(str(found["uuid"] if found["from"] != "uuid" else found["value"])))


@app.command(epilog="Example: migrate psql -- -c 'SELECT count(*) FROM messages'")
def psql(
    arguments: Annotated[list[str] | None, typer.Argument(help="For psql itself, after --.")] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Open psql on the target."""
    here = session(config, json, verbose, quiet)
    with here.target() as target:
        command = [*target.psql_command(), *(arguments or [])]
        environment = {**os.environ, **target.psql_environment()}
        here.console.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to psql
        raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)


@app.command(epilog="Example: migrate version")
def version() -> None:
    """Print the version."""
    current_console().print(__version__)


def main() -> None:
    """The entry point: runs a command and turns whatever happens into an exit code."""
    signal.signal(signal.SIGTERM, _stop)
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it logs, it raises, too
    code = run_app()
    if _consoles:
        _consoles[0].close()
    sys.exit(code)


# What typer makes of a KeyboardInterrupt before we see it.
INTERRUPTED = 130
STOPPED = StoppedError("stopped", hint="What was committed is consistent: the same command goes on.")


def _stop(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def run_app() -> int:
    try:
        code = int(app(standalone_mode=False) or 0)
        return fail(STOPPED) if code == INTERRUPTED else code
    except (typer.Abort, KeyboardInterrupt):
        return fail(STOPPED)
    except MigrateError as error:
        return fail(error)
    except psycopg.Error as error:
        if was_stopped(error):
            return fail(STOPPED)
        known = explain(error)
        return crash(error) if known is None else fail(known)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: no second complaint at exit
        return 0
    except Exception as error:  # noqa: BLE001 - the one place: a defect must still end with a message and a code
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # click's own usage errors
            error.show()
            return int(error.exit_code)
        return crash(error)


def was_stopped(error: BaseException) -> bool:
    """Whether Ctrl-C came first: a connection stopped in the middle of a statement refuses what ends a block."""
    context = error.__context__
    return context is not None and (isinstance(context, KeyboardInterrupt) or was_stopped(context))


def fail(error: MigrateError) -> int:
    console = current_console()
    console.close()
    console.error(error)
    if console.json:
        console.print_json({"error": {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}})
    return error.exit_code


def crash(error: BaseException) -> int:
    """A defect: a message and where the log is."""
    console = current_console()
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    log = Path(tempfile.gettempdir()) / f"migrate-{stamp}-{os.getpid()}.log"
    log.write_text(console.mask("".join(traceback.format_exception(error))), encoding="utf-8")
    wrapped = MigrateError(
        f"unexpected {type(error).__name__}: {error}",
        hint=f"This is a defect of migrate. The log is {log}; what was committed is consistent.",
    )
    wrapped.__cause__ = error
    return fail(wrapped)


if __name__ == "__main__":
    main()
