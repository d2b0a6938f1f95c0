"""The option `--log-file`, which every command has.

It is added to the signature of each command, so that a command does not have to pass it on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from migrator.commands.options import log_paths

HELP = "Also write all messages to this file, with timestamps; append if it exists."
OPTION = inspect.Parameter(
    "log_file",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[Path | None, typer.Option("--log-file", help=HELP)],
)


def with_log_file(command: Callable[..., None]) -> Callable[..., None]:
    """Returns the command with the option `--log-file`."""
    signature = inspect.signature(command, eval_str=True)

    @wraps(command)
    def run_logged(*arguments: Any, log_file: Path | None = None, **options: Any) -> None:
        log_paths[:] = [] if log_file is None else [log_file]
        command(*arguments, **options)

    parameters = [*signature.parameters.values(), OPTION]
    run_logged.__annotations__ = {each.name: each.annotation for each in parameters}
    run_logged.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run_logged
