"""Every command on a target that follows its source: while `follow` runs, and after it was killed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from migrator.targets.bundled import program_path
from tests.acceptance.test_states import READING, WRITING, Answers, execute_command
from tests.acceptance.test_verify_following import FOLLOWING, Followed
from tests.changing import DATABASE, Changing, LiveChanges, changing_server
from tests.driving import call
from tests.killing import wait_for, wait_for_the_lock
from tests.processes import start
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = [pytest.mark.usefixtures("quick"), pytest.mark.long]

LEFT_OUT = {"rejects show", "run --plan", "id"}  # need a plan or numbers of other documents
USED = (5, "another migrate process is using this target: migrate (process")
ALIVE: Answers = {
    "check": (3, "another migrate process is using this target"),
    "plan": (0, "the target contains the finished run 1"),
    "status": (0, "following"),
    "verify": (0, "no difference"),
    "export": USED,
    "rejects list": (0, "orphan"),
    "rejects export": (0, "written"),
    "report": (0, "rejected"),
    "schema": (0, "CREATE TABLE"),
    "psql": (0, ""),
    "history": (0, ""),
    **dict.fromkeys(
        ("run", "run --only", "run --only unknown", "run --only incomplete", "rejects retry", "embed", "follow"), USED
    ),
    "revert": USED,
}
KILLED: Answers = {
    **ALIVE,
    "check": (0, "the target contains the finished run 1"),
    "export": (0, "documents of 4 collections"),
    **dict.fromkeys(("run", "run --only", "run --only incomplete"), (0, "nothing left to do")),
    "run --only unknown": (2, "--only: the source has no collection nonsense"),
    "rejects retry": (2, "this target follows its source"),
    "embed": (0, "0 chunks embedded"),
    "follow": (0, "0 waiting"),
    "revert": (0, "Run 1 reverted"),
}


def test_commands(new_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command ends with its exit code and words; `revert`, the last one, restores the target."""
    monkeypatch.chdir(tmp_path)
    source, database = Changing(make_talks(3, messages=250), 3), new_database()
    before = dump(database)
    with changing_server(tmp_path / "mongo", source) as server, closing(LiveChanges(server.url, source)) as live:
        config = write_config(tmp_path / "migrate.toml", server.url, database, {"source": {"database": DATABASE}})
        ran = call("run", "--follow", "--until-caught-up", "-c", config)
        assert ran.code == 0, ran.told
        with Followed(config, database, live).following():
            live.write(20)
            check(ALIVE, config)
        process = start("follow", "-c", config)
        assert wait_for(database, FOLLOWING, 1, process)
        live.write(20)
        process.kill()
        process.wait(30)
        wait_for_the_lock(database)
        check(KILLED, config)
    assert dump(database) == before


def check(answers: Mapping[str, tuple[int, str]], config: Path) -> None:
    """Executes each command; `revert` is the last."""
    commands = {name: arguments for name, arguments in {**READING, **WRITING}.items() if name not in LEFT_OUT}
    assert commands.keys() == answers.keys()
    found = {}
    for name, arguments in commands.items():
        subprocess.run(["rm", "-rf", "exported", "rejects.jsonl"], check=True)
        found[name] = execute_command(*arguments, config=config)
    wrong = {
        name: (found[name].code, [x for x in found[name].told.splitlines() if "locker" in x or "✗" in x])
        for name, (code, words) in answers.items()
        if found[name].code != code or words not in " ".join(found[name].told.split())
    }
    assert not wrong, str(wrong)


def dump(database: str) -> str:
    """Returns the schema and rows of a database, as `pg_dump` writes them."""
    done = subprocess.run([program_path("pg_dump"), "--dbname", database], check=True, capture_output=True, text=True)
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
