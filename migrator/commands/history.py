"""The history of commands that change a target: `.migrate/history.jsonl` next to migrate.toml, and `migrate history`.

It is not in the target, because `revert` restores the target to its previous state.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migrator import __version__
from migrator.commands.options import DEFAULT, AsJson, ConfigPath, Quiet, Verbose, current_console, print_result
from migrator.errors import MigrateError, UsageError

if TYPE_CHECKING:
    from migrator.commands.target_session import TargetSession

FILE = Path(".migrate") / "history.jsonl"
INTERRUPTED = 5
COLUMNS = ("finished", "command", "run", "status", "exit code", "source", "target", "version")


@contextmanager
def recorded(session: TargetSession, command: str) -> Iterator[dict[str, Any]]:
    """Appends an entry for the command of the block, also after an error. Yields the entry, to be completed."""
    entry: dict[str, Any] = {
        "started": _now(),
        "finished": None,
        "command": command,
        "version": __version__,
        "source": None,
        "target": None,
        "run": None,
        "status": "failed",
        "exit_code": 0,
    }
    try:
        yield entry
    except MigrateError as error:
        entry |= {"exit_code": error.exit_code, "error": error.message}
        raise
    except KeyboardInterrupt:
        entry |= {"exit_code": INTERRUPTED, "status": "interrupted"}
        raise
    except BaseException as error:
        entry |= {"exit_code": 1, "error": type(error).__name__}
        raise
    finally:
        _append(session, {**entry, "finished": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _append(session: TargetSession, entry: dict[str, Any]) -> None:
    """Appends one line without secrets. A folder that cannot be written is a warning, not an error."""
    path = session.folder / FILE
    masked = {name: session.console.mask(each) if isinstance(each, str) else each for name, each in entry.items()}
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(jsonlib.dumps(masked, ensure_ascii=False) + "\n")
    except OSError as error:
        session.warn(f"no entry was added to the history: cannot write {path}: {error.strerror}")


def read_history(path: Path) -> list[dict[str, Any]]:
    """Returns all entries, the oldest first; none if there is no file. Raises: `UsageError` for a damaged file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [dict(jsonlib.loads(line)) for line in lines if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint="Move the file away; the next run creates it.") from error


def history(
    limit: Annotated[int, typer.Option(min=1, help="Show the latest N entries.")] = 20,
    config: ConfigPath = DEFAULT, json: AsJson = False, verbose: Verbose = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Show the runs, retries, embeddings and reverts that were started in this folder."""
    console = current_console(json, quiet, verbose)
    found = read_history(config.absolute().parent / FILE)[-limit:]
    rows = [[each.get(name.replace(" ", "_")) for name in COLUMNS] for each in found]

    def show() -> None:
        if found:
            console.table(COLUMNS, rows)
        else:
            console.print("No migration was run or reverted in this folder.")

    print_result(console, {"history": found}, show)
