"""The entry point: which commands there are (they are in commands/), and what becomes an exit code.

The only place that catches: a known error is printed with cause, remedy and exit code; anything else is a defect, and
its traceback goes to a log.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import typer

from migrator.commands import embed, plan, psql, revert, run, verify
from migrator.commands.context import _consoles as _consoles
from migrator.commands.context import current_console
from migrator.commands.rejects import rejects_app
from migrator.errors import MigrateError, StoppedError
from migrator.postgres.errors import translate_error
from migrator.redaction import say_error, trace_error

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Move a MongoDB application to PostgreSQL without losing a byte.")  # fmt: skip
# Name, what it does, an example; in the order of `migrate --help`.
COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("init", plan.init, "migrate init migrate.toml"),
    ("plan", plan.plan_command, "migrate plan --out plan.json"),
    ("run", run.run, "migrate run --plan plan.json"),
    ("status", run.status_command, "migrate status --watch"),
    ("verify", verify.verify, "migrate verify --level roundtrip --junit verify.xml"),
    ("revert", revert.revert, "migrate revert --yes"),
    ("report", verify.report, "migrate report --plan plan.json --html plan.html"),
    ("export", verify.export, "migrate export rebuilt && mongorestore rebuilt"),
    ("embed", embed.embed, "migrate embed"),
    ("schema", plan.schema, "migrate schema > schema.sql"),
    ("id", plan.id_command, "migrate id users 64baaaafd882a3fac3fb6a2b"),
    ("psql", psql.psql, "migrate psql -- -c 'SELECT count(*) FROM messages'"),
    ("version", psql.version, "migrate version"),
)
for name, command, example in COMMANDS:
    app.command(name, epilog=f"Example: {example}")(command)
app.add_typer(rejects_app, name="rejects")


def main() -> None:
    """The entry point: runs a command and turns whatever happens into an exit code."""
    listen()
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it logs, it raises, too
    code = run_app()
    if _consoles:
        _consoles[0].close()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)  # all is said; Python, on its way out, would let it be a kill
    sys.exit(code)


# What typer makes of a KeyboardInterrupt before we see it.
INTERRUPTED = 130
STOPPED = StoppedError("stopped", hint="What was committed is consistent: the same command goes on.")


def listen() -> None:
    """Sets up what Ctrl-C and SIGTERM do."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    sys.unraisablehook = _stop_again


def _stop_again(lost: sys.UnraisableHookArgs) -> None:
    """A stop that came where Python drops exceptions (in the garbage collector, in a finalizer) comes again."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    listen()
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, 0.01)  # not at once: that would be here, where it would be dropped as well


def _stop(signum: int, frame: object) -> None:
    """The first time all is brought to an end that can be; whoever cannot wait for that asks twice."""
    signal.signal(signal.SIGINT, _stop_now)
    signal.signal(signal.SIGTERM, _stop_now)
    raise KeyboardInterrupt


def _stop_now(signum: int, frame: object) -> None:
    """Ends at once, as a kill would, which a run is made for. No lock is asked for: its holder may be what hangs."""
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h")  # a progress bar hides the cursor
    os.write(2, f"error: stopped at once\nhint: {STOPPED.hint}\n".encode())
    if _consoles and _consoles[0].json:
        told = {"message": "stopped at once", "hint": STOPPED.hint, "exit_code": STOPPED.exit_code}
        os.write(1, json.dumps({"error": told}).encode() + b"\n")
    os._exit(STOPPED.exit_code)


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
        known = translate_error(error)
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
        told = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code, **error.details}
        console.print_json({"error": told})
    return error.exit_code


def write_log(prefix: str, text: str) -> str:
    """Writes a file that nobody else may read, or could have put a link in the place of; returns its path."""
    handle, path = tempfile.mkstemp(prefix=prefix, suffix=".log")
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return path


def crash(error: BaseException) -> int:
    """A defect: a message and where the log is."""
    console = current_console()
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    log = write_log(f"migrate-{stamp}-", console.mask(trace_error(error)))
    wrapped = MigrateError(
        f"unexpected {say_error(error)}",
        hint=f"This is a defect of migrate. The log is {log}; what was committed is consistent.",
    )
    wrapped.__cause__ = error
    return fail(wrapped)


if __name__ == "__main__":
    main()
