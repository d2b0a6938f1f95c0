"""The commands by name. A command is imported when it is used, so `migrate --help` imports none."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import typer.main
from typer.core import TyperGroup

from migrator.commands.log_option import with_log_file
from migrator.errors import RESUME
from migrator.execution.garbage import collect_after_imports


class CommandEntry(NamedTuple):
    """A command. `place`: module and function; `summary`: the first sentence of the function's docstring."""

    name: str
    place: str
    summary: str
    example: str


# In the order of `migrate --help`.
COMMANDS = (
    CommandEntry(
        "init", "init:init", "Write a starter configuration or an example.", "migrate init --example librechat demo"
    ),
    CommandEntry(
        "scaffold",
        "scaffold:scaffold_command",
        "Draft a migration of any application: mappings, schema, configuration, and a review of each guess.",
        "migrate scaffold shop --source dump:shop.archive.gz",
    ),
    CommandEntry("check", "check:check", "Check source, target and services in seconds.", "migrate check"),
    CommandEntry(
        "plan",
        "plan:plan_command",
        "Predict the result of `run` with a full rehearsal.",
        "migrate plan --out plan.json",
    ),
    CommandEntry("run", "run:run", "Run the migration, or resume an interrupted run.", "migrate run --plan plan.json"),
    CommandEntry(
        "follow",
        "follow:follow",
        "Apply the changes of a live source to the target, after a run, until Ctrl-C.",
        "migrate follow --until-caught-up",
    ),
    CommandEntry("cutover", "cutover:cutover", "Switch the application to PostgreSQL.", "migrate cutover --dry-run"),
    CommandEntry(
        "complete",
        "cutover:complete",
        "End the migration after the switch: changes are no longer brought back to MongoDB, and every trace is"
        " removed.",
        "migrate complete --yes",
    ),
    CommandEntry("status", "status:status_command", "Show the progress of a run.", "migrate status --watch"),
    CommandEntry(
        "history",
        "history:history",
        "Show the runs, retries, embeddings and reverts that were started in this folder.",
        "migrate history --limit 5",
    ),
    CommandEntry(
        "verify",
        "verify:verify",
        "Compare the target with the source.",
        "migrate verify --level roundtrip --junit verify.xml",
    ),
    CommandEntry("revert", "revert:revert", "Undo the migration; keep all other data.", "migrate revert --yes"),
    CommandEntry(
        "report",
        "report:report",
        "Write an HTML page about a plan or a run.",
        "migrate report --plan plan.json --html plan.html",
    ),
    CommandEntry(
        "export",
        "export:export",
        "Rebuild the MongoDB database from PostgreSQL alone.",
        "migrate export rebuilt && mongorestore rebuilt",
    ),
    CommandEntry("embed", "embed:embed", "Compute embeddings that are still missing.", "migrate embed"),
    CommandEntry("schema", "plan:schema", "Print the DDL that `run` executes.", "migrate schema > schema.sql"),
    CommandEntry(
        "id",
        "plan:id_command",
        "Convert an ObjectId to its UUID, and back.",
        "migrate id users 64baaaafd882a3fac3fb6a2b",
    ),
    CommandEntry("psql", "psql:psql", "Open psql on the target.", "migrate psql -- -c 'SELECT count(*) FROM messages'"),
    CommandEntry("version", "psql:version", "Print the version.", "migrate version"),
    CommandEntry(
        "rejects", "rejects:rejects_app", "List, show, retry or export rejected documents.", "migrate rejects list"
    ),
)


_WRITING = frozenset({"run", "follow", "cutover", "complete", "revert", "embed", "rejects"})  # to the target
_AGAIN = "No data was changed. Run the same command again."


def hint_after(hint: str, arguments: Sequence[str]) -> str:
    """Return a hint as it is true of a command: only one that writes to the target has committed data.

    `arguments`: the command line of this process.
    """
    name = next((each for each in arguments[1:] if not each.startswith("-")), "")
    is_writing = name in _WRITING and "--dry-run" not in arguments
    return hint if is_writing else hint.replace(RESUME, _AGAIN)


class Commands(UserDict[str, Any]):
    """The commands by name, built when they are used."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(each.name for each in COMMANDS))
        self._entries = {each.name: each for each in COMMANDS}

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            self.data[name] = build_command(self._entries[name])
        return self.data[name]


def build_command(entry: CommandEntry) -> Any:
    """Imports a command, and returns it with the option that all commands have."""
    module, _, name = entry.place.partition(":")
    found = getattr(import_module(f"migrator.commands.{module}"), name)
    collect_after_imports()
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = entry.name
        return group
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(entry.name, epilog=f"Example: {entry.example}")(with_log_file(found))
    return typer.main.get_command(single)


class LazyGroup(TyperGroup):
    """`migrate` itself."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        """Returns the names in the order of `migrate --help`."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the list of commands of `migrate --help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(each.name, each.summary) for each in COMMANDS])
