"""What a command imports: each import that it does not need delays it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from migrator.commands.registry import COMMANDS, Commands, hint_after
from migrator.errors import RESUME

LATE = frozenset({"psycopg", "pydantic", "rich", "sqlalchemy", "pymongo", "bson", "tenacity", "psutil", "asyncio"})


def imported_by(code: str) -> set[str]:
    """Returns the modules that a process has imported after some code."""
    command = f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True)
    return set(found.stdout.splitlines()[-1].split())


def run(*arguments: str) -> str:
    return f"import migrator.cli\nsys.argv = ['migrate', *{arguments!r}]\nmigrator.cli.run_app()"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_no_command(option: str) -> None:
    """`migrate --help` needs typer and the list of commands only: 0.06 s of CPU time instead of 0.8."""
    found = imported_by(run(option))
    assert found & LATE == set()
    assert {name for name in found if name.startswith("migrator.")} == {
        "migrator.cli",
        "migrator.commands",
        "migrator.commands.early_start",
        "migrator.commands.log_option",
        "migrator.commands.options",
        "migrator.commands.registry",
        "migrator.errors",
        "migrator.execution",
        "migrator.execution.garbage",
    }


@pytest.mark.parametrize("module", ["status", "psql", "history", "init"])
def test_commands_without_a_definition(module: str) -> None:
    """A command that reads records only needs neither the mappings nor what they import."""
    found = imported_by(f"import migrator.commands.{module}")
    assert found & {"sqlalchemy", "pymongo", "migrator.mapping.collection", "migrator.report", "mappings"} == set()


def test_export_imports_no_other_command() -> None:
    """A command's start is a tenth of an export of 200,000 documents."""
    found = imported_by("import migrator.commands.export")
    assert found & {"migrator.verification", "migrator.report", "migrator.workflows.pipeline"} == set()


def test_run_imports_no_other_command() -> None:
    """What the options --dry-run, --follow and --plan ask for is a tenth of the start."""
    found = imported_by("import migrator.commands.run")
    others = {"migrator.following", "migrator.reversing", "migrator.workflows.plan", "migrator.workflows.verify"}
    assert found & {*others, "migrator.workflows.dry_run", "migrator.workflows.follow"} == set()


def test_commands_do_not_import_the_driver() -> None:
    """A dump needs no client of MongoDB, whose import takes 150 ms."""
    assert "pymongo" not in imported_by("from migrator.commands.registry import Commands\nlist(Commands().values())")


def test_the_script_that_every_worker_imports_again_imports_no_command() -> None:
    """The start of worker processes would take another second of CPU time."""
    found = imported_by("import migrator.__main__")
    assert {name for name in found if name.startswith("migrator.")} == {"migrator.__main__"}


def test_the_list_of_commands_is_true() -> None:
    """`migrate --help` shows the first sentence of each command's own help."""
    commands = Commands()
    for entry in COMMANDS:
        assert " ".join(commands[entry.name].help.split()).startswith(entry.summary)
        assert commands[entry.name].name == entry.name


@pytest.mark.parametrize(
    ("line", "has_committed"),
    [
        ("run -c migrate.toml", True), ("-v rejects retry", True), ("cutover", True),
        ("run --dry-run", False), ("plan --out run", False), ("verify", False), ("", False),
    ],
)  # fmt: skip
def test_only_commands_that_write_speak_of_committed_data(line: str, has_committed: bool) -> None:
    """What was interrupted has written something, or it has not."""
    hint = hint_after(f"Free disk space. {RESUME}", ["migrate", *line.split()])
    assert ("Committed data" in hint) == has_committed
    assert hint.startswith("Free disk space. ")
    assert "Run the same command again" in hint


def test_no_folder_for_the_bundled_server() -> None:
    """A folder for temporary files that all users can write to is an error of the environment, not an internal one."""
    code = (
        "import platformdirs\n"
        "def refuse(*_):\n    raise PermissionError('below /tmp/x, writable by another user')\n"
        "platformdirs.user_runtime_path = refuse\n"
        "from migrator.errors import TargetError\n"
        "try:\n    import migrator.targets.bundled\n"
        "except TargetError as error:\n    assert 'writable by another user' in error.message\n    assert error.hint\n"
        "else:\n    raise AssertionError\n"
    )
    assert "migrator.errors" in imported_by(code)
