"""Starts the server process of the workers before a command is imported, if the command certainly needs it.

Both import for half a second, and can do so at the same time. What is not certain is left to `local_workers`, and what
is wrong with the configuration to the command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

# The commands that use workers, and what their workers import besides what all need.
MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "run": (),
    "plan": (),
    "verify": ("migrator.verification.round_trip_workers",),
}


def start_early(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start the server process if the command line, the configuration and the size of the source tell it is needed.

    Raises nothing. Not if there are variables of libpq: the command removes them before its processes inherit them.
    """
    name = arguments[0] if arguments else ""
    if name not in MODULES or any(each.startswith("PG") for each in environ):
        return
    from migrator.execution.fork_server import start_fork_server  # with the libraries that only these commands need

    with suppress(Exception):  # the command does the same again, and reports what is wrong with its remedy
        if (packages := find_packages(arguments, environ)) is not None:
            start_fork_server(packages, MODULES[name])


def find_packages(arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return the packages of the project and its folder; None if workers are perhaps not needed.

    Raises: any error of the configuration, which is not checked.
    """
    import tomllib

    from migrator.execution.fork_server import LARGE_SOURCE

    path = Path(_option(arguments, "--config", "-c") or "migrate.toml")
    written = tomllib.loads(path.read_text("utf-8-sig"))

    def value(section: str, key: str, default: Any) -> Any:
        return environ.get(f"MIGRATE_{section}__{key}".upper(), written.get(section, {}).get(key, default))

    workers = int(_option(arguments, "--workers") or value("engine", "workers", 0)) or os.cpu_count()
    if {"-h", "--help", "counts"} & {*arguments} or workers == 1 or value("engine", "executor", "local") != "local":
        return None
    kind, _, place = value("source", "url", "").partition(":")
    folder = os.path.dirname(os.path.abspath(path))
    if kind != "dump" or _bytes_of(folder / Path(place).expanduser()) <= LARGE_SOURCE:
        return None
    return value("migration", "mappings", "mappings"), value("migration", "schema", "schema"), folder


def _option(arguments: Sequence[str], *names: str) -> str | None:
    """Return the last value of an option, if it is written as one argument or as two."""
    found = None
    for argument, after in zip(arguments, [*arguments[1:], None], strict=True):
        name, sign, value = argument.partition("=")
        if name in names:
            found = value if sign else after
    return found


def _bytes_of(dump: Path) -> int:
    """Return the bytes of the collections that workers read themselves: the uncompressed ones of a folder."""
    return sum(each.stat().st_size for pattern in ("*.bson", "*/*.bson") for each in dump.glob(pattern))
