"""The entry point: signals, and the exit code. The commands are in commands/, their list in commands/registry.py.

The only place that catches all exceptions: a known error is printed with cause, remedy and exit code; anything else is
an internal error, and its traceback is written to a log file. What only errors need is imported for them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
from datetime import UTC, datetime
from typing import Annotated

import typer

from migrator import __version__
from migrator.commands.early_start import start_early
from migrator.commands.options import consoles as consoles
from migrator.commands.options import current_console
from migrator.commands.registry import LazyGroup, hint_after
from migrator.errors import RESUME, MigrateError, StoppedError, UsageError

EXIT_CODES = (
    "Exit codes: 0 success; 1 internal error; 2 usage or configuration; 3 plan: blockers, or out of date; 4 verify:"
    " differences; 5 interrupted, run the same command again to resume; 6 revert refused; 7 source, target or a service"
    " is unreachable or denies access; 8 too many rejected documents."
)
app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Move a MongoDB application to PostgreSQL without losing a byte.",
    epilog=f"{EXIT_CODES}\n\nExample: migrate plan -c migrate.toml",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"migrate {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """Handles the options of `migrate` itself."""


def main() -> None:
    """Runs a command and exits with its exit code."""
    install_handlers()
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # psycopg raises what it logs
    code = run_app()
    if consoles:
        consoles[0].close()
        consoles[0].end_log(code)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)  # a signal during exit must not change the exit code
    sys.exit(code)


INTERRUPTED = 130  # the exit code that typer makes of a KeyboardInterrupt
STOPPED = StoppedError("interrupted", hint=RESUME)


def install_handlers() -> None:
    """Installs the handlers for Ctrl-C and SIGTERM."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    sys.unraisablehook = _stop_again


def _stop_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Repeats an interrupt that Python dropped, in the garbage collector or a finalizer."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    install_handlers()
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, 0.01)  # later, because Python would drop it again here


def _stop(signum: int, frame: object) -> None:
    """Stops gracefully at the first signal; a second one ends the process immediately."""
    signal.signal(signal.SIGINT, _stop_now)
    signal.signal(signal.SIGTERM, _stop_now)
    raise KeyboardInterrupt


def _stop_now(signum: int, frame: object) -> None:
    """Ends the process as SIGKILL would. It takes no lock, because the holder of the lock may hang."""
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h")  # a progress bar hides the cursor
    hint = hint_after(STOPPED.hint, sys.argv)
    os.write(2, f"error: interrupted immediately\nhint: {hint}\n".encode())
    if consoles and consoles[0].json:
        error = {"message": "interrupted immediately", "hint": hint, "exit_code": STOPPED.exit_code}
        os.write(1, json.dumps({"error": error}).encode() + b"\n")
    os._exit(STOPPED.exit_code)


def run_app() -> int:
    """Runs the command of sys.argv; returns its exit code."""
    try:
        start_early(sys.argv[1:], os.environ)
        code = int(app(standalone_mode=False) or 0)
        return fail(STOPPED) if code == INTERRUPTED else code
    except (typer.Abort, KeyboardInterrupt):
        return fail(STOPPED)
    except MigrateError as error:
        return fail(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python reports it again at exit
        return 0
    except Exception as error:  # noqa: BLE001 - an internal error must end with a message and an exit code, too
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # click's usage errors
            error.show()
            return int(error.exit_code)
        return fail_unexpectedly(error)


def fail_unexpectedly(error: Exception) -> int:
    """Prints an error of PostgreSQL that has a known cause as such, and any other as an internal one."""
    import psycopg

    from migrator.postgres.errors import translate_error

    if not isinstance(error, psycopg.Error):
        return crash(error)
    if was_interrupted(error):
        return fail(STOPPED)
    known = translate_error(error)
    return crash(error) if known is None else fail(known)


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C caused the error: a connection that is interrupted in a statement rejects the end of its block."""
    context = error.__context__
    return context is not None and (isinstance(context, KeyboardInterrupt) or was_interrupted(context))


def fail(error: MigrateError) -> int:
    """Prints a known error; returns its exit code."""
    console = current_console()
    console.close()
    error.hint = hint_after(error.hint, sys.argv)
    console.error(error)
    if console.json:
        described = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code, **error.details}
        console.print_json({"error": described})
    return error.exit_code


def write_log(prefix: str, text: str) -> str:
    """Writes a new file that only this user can read, and that no symbolic link can redirect; returns its path."""
    handle, path = tempfile.mkstemp(prefix=prefix, suffix=".log")
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return path


def crash(error: BaseException) -> int:
    """Prints an unexpected error and writes its traceback to a log. Errors of the mappings are the user's."""
    from migrator.mapping.project import find_project_frame
    from migrator.redaction import describe_error, format_traceback

    console = current_console()
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    log = write_log(f"migrate-{stamp}-", console.mask(format_traceback(error)))
    place = find_project_frame(error)
    if place is None:
        wrapped = MigrateError(
            f"internal error: {describe_error(error)}",
            hint=f"Please report it with the log {log}. Committed data is consistent.",
        )
    else:
        wrapped = UsageError(
            f"the mappings failed: {place}: {describe_error(error)}",
            hint=f"Fix the mapping, then run the same command again. Traceback: {log}. Committed data is consistent.",
        )
    wrapped.__cause__ = error
    return fail(wrapped)


if __name__ == "__main__":
    main()
