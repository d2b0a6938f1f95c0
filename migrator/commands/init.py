"""`init`: the starter configuration, or the example project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, current_console, print_result
from migrator.config.example import NAMES, copy_example
from migrator.config.starter import compose_starter
from migrator.errors import UsageError


def init(
    path: Annotated[
        Path | None,
        typer.Argument(help="The file to write (default: the file of --config); with --example: the project folder."),
    ] = None,
    example: Annotated[
        str, typer.Option(help=f"Copy an example project with a demo dump: {', '.join(NAMES)}.")
    ] = "",
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Write a starter configuration or an example. Commented; does not overwrite existing files."""
    console = current_console(json, quiet, verbose)
    target = path or (Path() if example else config)
    if example and example not in NAMES:
        raise UsageError(f"unknown example {example!r}", hint=f"Available: {', '.join(NAMES)}.")
    try:
        written = copy_example(example, target) if example else [write_starter(target)]
    except FileExistsError as error:
        raise UsageError(
            f"{error.filename or error} already exists", hint="Choose another path, or remove it first."
        ) from error
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or target}: {error.strerror}") from error
    result = {"path": str(target), "written": [str(each) for each in written]}
    print_result(console, result, lambda: console.print(describe_next_step(target, example)))


def write_starter(path: Path) -> Path:
    """Writes the starter configuration, for the package `mappings` next to it, to a new file. Raises: `OSError`."""
    text = compose_starter(path.parent / "mappings")
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path


def describe_next_step(target: Path, example: str) -> str:
    """What was written, and the command to run next."""
    if not example:
        return f"Wrote {target}. Edit it, then run: migrate plan -c {target}"
    enter = "" if target == Path() else f"cd {target} && "
    return f"Copied the example {example} to {target.resolve()}. Next: {enter}migrate plan"
