"""`psql` and `version`."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Annotated

import typer

from migrator import __version__
from migrator.commands.context import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, current_console, session
from migrator.commands.context import _consoles as _consoles


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


def version() -> None:
    """Print the version."""
    current_console().print(__version__)
