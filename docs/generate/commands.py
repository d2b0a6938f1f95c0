"""The page of commands: every command with its arguments and options, read from the command line interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from docs.generate.markdown import NOTICE, code, sentence, table
from migrator.cli import app

INTRODUCTION = """# Commands

Every command reads `migrate.toml` in the current folder, unless `--config` names another file. With `--json`, standard
output carries exactly one JSON document; progress and messages go to standard error. Without a terminal there is no
animation. `NO_COLOR` is honoured. [Exit codes](exit-codes.md) are the same for all commands.
"""


def leaf_commands() -> Iterator[tuple[str, Any]]:
    """Yields (full name, click command) of every command that can be executed, in the order of `migrate --help`."""
    yield from _leaves("migrate", typer.main.get_command(app))


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for child, each in getattr(command, "commands", {}).items():
        if hasattr(each, "commands"):
            yield from _leaves(f"{name} {child}", each)
        elif not each.hidden:
            yield f"{name} {child}", each


def page() -> str:
    """Renders the page."""
    return NOTICE + "\n" + INTRODUCTION + "".join(_section(name, command) for name, command in leaf_commands())


def _section(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"\n## {name}\n", sentence(_one_line(command.help or "")) + "\n", f"```\n{_one_line(usage)}\n```\n"]
    for title, kind in (("Argument", "argument"), ("Option", "option")):
        rows = [_row(each, context) for each in command.params if each.param_type_name == kind and not each.hidden]
        parts += [table((title, "Meaning"), rows)] if rows else []
    if command.epilog:
        parts.append(f"Example:\n\n```\n{command.epilog.removeprefix('Example: ')}\n```\n")
    return "\n".join(parts)


def _row(parameter: Any, context: Any) -> tuple[str, str]:
    spelling, meaning = parameter.get_help_record(context)
    return code(spelling), meaning.replace("  [", " [")


def _one_line(text: str) -> str:
    return " ".join(text.split())
