"""What every command needs before it reads the configuration: the common options, and the console.

It imports nothing that takes long, because `migrate --help` and `migrate --version` import it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrator.errors import StoppedError

if TYPE_CHECKING:
    from migrator.terminal.console import Console

ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to standard output; messages go to standard error.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More detail, including tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors and the result.")]
DEFAULT = Path("migrate.toml")

consoles: list[Console] = []  # the console of this process, once it exists
log_paths: list[Path] = []  # the file of --log-file


def current_console(json: bool = False, quiet: bool = False, verbose: bool = False) -> Console:
    """Returns the console of this process; the first call creates it with its options."""
    from migrator.terminal.console import Console

    if not consoles:
        console = Console(json=json, quiet=quiet, verbose=verbose)
        consoles.append(console)
        if log_paths:
            path = log_paths.pop()
            console.open_log(path)
    return consoles[0]


def print_result(console: Console, value: object, show: Callable[[], object]) -> None:
    """Prints the result: `value` as one JSON document with --json, otherwise by calling `show`."""
    if console.json:
        console.print_json(value)
    else:
        console.close()
        show()


def split_names(text: str) -> frozenset[str]:
    """Splits a comma-separated list of names."""
    return frozenset(name for each in text.split(",") if (name := each.strip()))


def confirm(question: str) -> None:
    """Asks a yes-or-no question on the terminal. Raises: `StoppedError` if the answer is no."""
    if not typer.confirm(question):
        raise StoppedError("cancelled; nothing was changed")
