"""`psql` and `version`."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Annotated

import typer

from migrator import __version__
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, current_console
from migrator.commands.target_session import open_target_session


def psql(
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments for psql, after --.")] = None,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Open psql on the target."""
    session = open_target_session(config, json, verbose, quiet)
    with session.target() as target:
        command = [*target.psql_command(), *(arguments or [])]
        environment = {**os.environ, **target.psql_environment()}
        session.console.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # psql handles Ctrl-C
        raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)


def version() -> None:
    """Print the version."""
    current_console().print(__version__)
