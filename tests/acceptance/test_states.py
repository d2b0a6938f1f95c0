"""Every command in every state of the target: exit code, words, and nothing changed where the command must not write.

One test for each state. A command that writes is followed by another copy of the state's database.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import bson
import psycopg
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from migrator.errors import StoppedError
from migrator.mapping.loader import MigrationDefinition
from migrator.state.lock import KEY
from migrator.targets.bundled import program_path
from migrator.workflows.pipeline import Pipeline
from tests.acceptance.test_records_version import OLD
from tests.archive_writer import write_folder
from tests.driving import Answer, call, clear
from tests.scenarios import write_config
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")

DATES = {"createdAt": DatetimeMS(1_704_067_200_000), "updatedAt": DatetimeMS(1_704_067_200_000)}
OWNER, MISSING = ObjectId("65a000000000000000000001"), ObjectId("65a0000000000000000000ff")
READING = {
    "check": ("check",),
    "plan": ("plan",),
    "status": ("status",),
    "verify": ("verify", "--level", "roundtrip"),
    "export": ("export", "exported"),
    "rejects list": ("rejects", "list"),
    "rejects show": ("rejects", "show", "1"),
    "rejects export": ("rejects", "export", "rejects.jsonl"),
    "report": ("report", "--html", "report.html"),
    "schema": ("schema",),
    "id": ("id", "users", str(OWNER)),
    "psql": ("psql", "--", "-qc", "SELECT"),
    "history": ("history",),
}
WRITING = {
    "run": ("run",),
    "run --only": ("run", "--only", "users"),
    "run --only unknown": ("run", "--only", "nonsense"),
    "run --only incomplete": ("run", "--only", "messages"),
    "run --plan": ("run", "--plan", "plan.json"),
    "rejects retry": ("rejects", "retry"),
    "embed": ("embed",),
    "follow": ("follow", "--until-caught-up"),
    "revert": ("revert", "--yes"),
}
OWNER_UPDATES = 'UPDATE conversations SET provider = \'openAI\', parameters = \'{"top_k": "x", "a": [1]}\''


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state of the target: how to build it, what changes afterwards, and what each command answers.

    `build` fills a database that every copy is made from. `settings` and `dump` replace those of the run. `answers`:
    the exit code and a part of the output of each command.
    """

    build: Callable[[Setup, str], None]
    answers: Mapping[str, tuple[int, str]]
    settings: dict[str, Any] = field(default_factory=dict)
    dump: str = "dump"
    during: Callable[[str], Any] = lambda database: ExitStack()


@dataclass(frozen=True, slots=True)
class Setup:
    """The folder of one test, with its dumps."""

    folder: Path

    def configure(self, database: str, settings: dict[str, Any] | None = None, dump: str = "dump") -> Path:
        return write_config(self.folder / "migrate.toml", f"dump:{self.folder / dump}", database, settings)

    def run(self, database: str, *arguments: str) -> Answer:
        return call("run", *arguments, "-c", self.configure(database))


def make_documents(text: str = "") -> dict[str, list[bytes]]:
    """Two conversations, one of them without an owner; four messages and a memory."""
    talks = [f"11111111-1111-4111-8111-11111111111{number}" for number in range(2)]
    owners = [OWNER, MISSING]
    documents: dict[str, list[dict[str, Any]]] = {
        "users": [{"_id": OWNER, "email": "owner@example.com", **DATES}],
        "conversations": [
            {
                "_id": ObjectId(f"65a00000000000000000020{n}"), "conversationId": talks[n], "user": str(owners[n]),
                "title": f"Talk {n}{text}", "model": "claude-3", "topK": 5, "temperature": 0.5,
                **DATES,
            }
            for n in range(2)
        ],
        "messages": [
            {
                "_id": ObjectId(f"65a00000000000000000030{n}"), "conversationId": talks[n % 2],
                "messageId": f"22222222-2222-4222-8222-22222222220{n}", "user": str(owners[n % 2]), "sender": "User",
                "text": f"message {n}{text}", "isCreatedByUser": True, **DATES,
            }
            for n in range(4)
        ],
        "memories": [
            {"_id": ObjectId("65a000000000000000000401"), "userId": OWNER, "key": "k", "value": "v", "updated_at":
             DATES["updatedAt"]}
        ],
    }  # fmt: skip
    return {name: [bson.encode(each) for each in some] for name, some in documents.items()}


# --- states -------------------------------------------------------------------------------------------------------


def build_nothing(setup: Setup, database: str) -> None:
    """Leaves the database empty."""


def build_done(setup: Setup, database: str) -> None:
    assert setup.run(database).code == 0


def build_stopped(setup: Setup, database: str) -> None:
    """Stops a run before the messages."""
    run_level = Pipeline._run_level

    def stop(pipeline: Pipeline, job: Any, pool: Any) -> None:
        if "messages" in job.collections:
            raise StoppedError("interrupted")
        run_level(pipeline, job, pool)

    with patch.object(Pipeline, "_run_level", stop):
        assert setup.run(database).code == 5


def build_killed(setup: Setup, database: str) -> None:
    build_stopped(setup, database)
    execute(database, "UPDATE migrator.runs SET status = 'running', finished = NULL")


def build_only(setup: Setup, database: str) -> None:
    assert setup.run(database, "--only", "users").code == 0


def build_retrying(setup: Setup, database: str) -> None:
    """Stops a retry before it has looked at a reject."""
    build_done(setup, database)
    with patch("migrator.workflows.retry_rejects._resolve_rejects", side_effect=StoppedError("interrupted")):
        assert call("rejects", "retry", "-c", setup.folder / "migrate.toml").code == 5


def build_reverted(setup: Setup, database: str) -> None:
    build_done(setup, database)
    assert call("revert", "--yes", "-c", setup.folder / "migrate.toml").code == 0


def build_restored(setup: Setup, database: str) -> None:
    build_done(setup, database)
    dump = setup.folder / "pg.dump"
    subprocess.run([program_path("pg_dump"), "-Fc", "-f", dump, "--dbname", database], check=True)
    clear(database)
    subprocess.run([program_path("pg_restore"), "--dbname", database, dump], check=True)


def build_with(statements: str, setup: Setup, database: str) -> None:
    """Finishes a run and executes statements of the owner."""
    build_done(setup, database)
    execute(database, statements)


@contextmanager
def hold_lock(database: str) -> Iterator[None]:
    with closing(psycopg.connect(database, autocommit=True, application_name="another process")) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (KEY,))
        yield


def change_mappings(database: str) -> Any:
    return patch.object(MigrationDefinition, "fingerprint", "another")


Answers = Mapping[str, tuple[int, str]]

# The history is a file next to migrate.toml: no state of the target changes it.
SAME: Answers = {
    "history": (0, ""),
    "schema": (0, "CREATE TABLE"),
    "id": (0, "018cf900-0000-7000-8000-0000000005f7"),
    "psql": (0, ""),
    "follow": (2, "is a dump, which does not change"),
}
NOTHING: Answers = {
    **SAME,
    "check": (0, "no run yet"),
    "plan": (0, "No blockers"),
    "status": (0, "contains no migration"),
    **dict.fromkeys(
        ("verify", "export", "rejects list", "rejects show", "rejects export", "report", "rejects retry", "embed"),
        (2, "contains no migration"),
    ),
    "revert": (2, "contains no migration to revert"),
    "run": (0, "Run 1 done: 8 documents"),
    "run --only": (0, "Run 1 stopped: 1 document "),
    "run --only unknown": (2, "--only: the source has no collection nonsense"),
    "run --only incomplete": (2, "refer to conversations, users, which are not loaded"),
    "run --plan": (0, "Run 1 done: 8 documents"),
}
STOPPED: Answers = {
    **NOTHING,
    "check": (0, "run 1 is unfinished"),
    "plan": (0, "run 1 is unfinished"),
    "status": (0, "Run 1: "),
    "verify": (4, "likely cause: the run is not finished"),
    **dict.fromkeys(("export", "rejects retry", "embed"), (2, "run 1 in the target is not finished")),
    "rejects list": (0, "orphan"),
    "rejects show": (0, "orphan"),
    "rejects export": (0, "1 rejected document written"),
    "report": (0, "To resume: migrate run"),
    "run --only": (0, "Run 1 stopped: 4 documents"),
    "run --only incomplete": (0, "Run 1 stopped: 8 documents"),
    "revert": (0, "Run 1 reverted"),
}
ONLY: Answers = {
    **STOPPED,
    "rejects list": (0, ""),
    "rejects show": (2, "no reject has the number 1"),
    "rejects export": (0, "0 rejected documents written"),
    "run --only": (0, "Run 1 stopped: 1 document "),
    "run --only incomplete": (2, "refer to conversations, which are not loaded"),
}
LOCKED = ("run", "run --only", "run --only unknown", "run --only incomplete", "run --plan", "rejects retry", "embed")
RUNNING: Answers = {
    **STOPPED,
    "check": (3, "another migrate process is using this target: another process"),
    "status": (0, "another process"),
    **dict.fromkeys((*LOCKED, "verify", "export", "revert"), (5, "another migrate process is using this target")),
}
DONE: Answers = {
    **STOPPED,
    "check": (0, "the target contains the finished run 1"),
    "plan": (0, "the target contains the finished run 1"),
    "verify": (0, "no difference"),
    "export": (0, "8 documents of 4 collections"),
    "rejects export": (0, "3 rejected documents written"),
    "report": (0, "3 rejected"),
    **dict.fromkeys(("run", "run --only", "run --only incomplete", "run --plan"), (0, "nothing left to do")),
    "rejects retry": (0, "all documents accounted for (3 rejected)"),
    "embed": (0, "0 chunks embedded"),
}


def changed(what: str) -> Answers:
    """Returns the answers of a finished run whose settings, source or mappings are other ones now."""
    text = f"changed since the migration in this target began: {what}"
    runs = ("run", "run --only", "run --only unknown", "run --only incomplete")
    plan = "the plan is out of date; changed since it was created"
    return {**DONE, "check": (3, text), "plan": (3, text), **dict.fromkeys(runs, (2, text)), "run --plan": (3, plan)}


UNIT = "configuration (transactions.amount_unit)"
OWNER_SETTING = "configuration (policies.orphan_owner)"
NO_OWNER = "no user with the email missing@example.com is in the source or in the target"
RETRYING: Answers = {
    **DONE,
    "check": (0, "run 1 is unfinished"),
    "plan": (0, "run 1 is unfinished"),
    "status": (0, "Run 1: "),
    "verify": (4, "likely cause: the run is not finished"),
    **dict.fromkeys(("export", "embed"), (2, "`migrate rejects retry` completes it")),
    "rejects export": (0, "3 rejected documents written"),
    "report": (0, "To resume: migrate run"),
    "run": (0, "Run 1 done: 8 documents"),
    "run --only": (0, "Run 1 stopped: 8 documents"),
    "run --only unknown": (2, "--only: the source has no collection nonsense"),
    "run --only incomplete": (0, "Run 1 stopped: 8 documents"),
    "run --plan": (0, "Run 1 done: 8 documents"),
    "rejects retry": (0, "Resuming an interrupted retry."),
}
STATES = {
    "nothing": State(build=build_nothing, answers=NOTHING),
    "nothing, wrong owner": State(
        build=build_nothing,
        settings={"policies": {"orphan_owner": "missing@example.com"}},
        answers={
            **NOTHING,
            **dict.fromkeys(
                ("check", "plan", "run", "run --only", "run --only unknown", "run --only incomplete"), (3, NO_OWNER)
            ),
            "run --plan": (3, "the plan is out of date"),
        },
    ),
    "retrying": State(build=build_retrying, answers=RETRYING),
    "running": State(build=build_killed, during=hold_lock, answers=RUNNING),
    "killed": State(build=build_killed, answers=STOPPED),
    "stopped": State(build=build_stopped, answers=STOPPED),
    "only": State(build=build_only, answers=ONLY),
    "done": State(build=build_done, answers=DONE),
    "settings": State(
        build=build_done,
        settings={"transactions": {"amount_unit": "major"}},
        answers={**changed(UNIT), "rejects retry": (2, "the loaded rows depend on it: transactions.amount_unit")},
    ),
    "owner": State(
        build=build_done,
        settings={"policies": {"orphan_owner": "owner@example.com"}},
        answers={
            **changed(OWNER_SETTING),
            "verify": (4, "likely cause: the configuration changed after the run"),
            "rejects retry": (0, "all documents accounted for (0 rejected)"),
        },
    ),
    "wrong owner": State(
        build=build_done,
        settings={"policies": {"orphan_owner": "missing@example.com"}},
        answers={
            **changed(OWNER_SETTING),
            "plan": (3, "no user with the email missing@example.com"),
            "verify": (2, "no user with the email missing@example.com"),
            "rejects retry": (2, "no user with the email missing@example.com"),
        },
    ),
    "source": State(
        build=build_done,
        dump="changed",
        answers={**changed("source"), "verify": (4, "likely cause: the source changed after the run")},
    ),
    "mappings": State(build=build_done, during=change_mappings, answers=changed("mappings")),
    "rows": State(
        build=partial(build_with, OWNER_UPDATES),
        answers={
            **DONE,
            "verify": (4, "likely cause: the target changed after the run"),
            "revert": (6, "conversations: 1 migrated, modified later"),
        },
    ),
    "reverted": State(build=build_reverted, answers=NOTHING),
    "restored": State(build=build_restored, answers={**DONE, "revert": (6, "database restored from a dump")}),
    "older": State(
        build=partial(build_with, OLD),
        answers={
            **dict.fromkeys([*READING, *WRITING], (2, "an older version of migrate created the records")),
            **SAME,
        },
    ),
}


# --- the table ----------------------------------------------------------------------------------------------------


# Their daily counterpart is a state that differs in what has changed only.
RARE = frozenset({"nothing, wrong owner", "mappings", "source", "wrong owner", "killed", "rows", "settings", "owner"})


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in RARE)) for name in STATES])
def test_state(
    name: str, new_database: Callable[[], str], templates: Templates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command ends with its exit code and words, and does not change what it must not change."""
    monkeypatch.chdir(tmp_path)
    state, setup = STATES[name], Setup(tmp_path)
    write_folder(tmp_path / "dump", make_documents())
    write_folder(tmp_path / "changed", make_documents("!"))
    plan = call("plan", "--out", "plan.json", "-c", setup.configure(new_database()))
    assert plan.code == 0, plan.told
    database = new_database()
    found: dict[str, Answer] = {}

    def copy() -> Path:
        templates.copy(f"state {state.build}", database, partial(state.build, setup))
        return setup.configure(database, state.settings, state.dump)

    config = copy()
    unchanged = Unchanged(database)
    with state.during(database):
        for command, arguments in READING.items():
            found[command] = execute_command(*arguments, config=config)
            unchanged.check(command, found[command].told)
    is_used = False
    for command, arguments in WRITING.items():
        if is_used:
            config = copy()
            unchanged.is_again()
        with state.during(database):
            found[command] = execute_command(*arguments, config=config)
        is_used = found[command].code == 0
        if not is_used:
            unchanged.check(command, found[command].told)
    assert found.keys() == state.answers.keys()
    assert {command: answer.code for command, answer in found.items()} == {
        command: code for command, (code, _) in state.answers.items()
    }
    for command, (_, words) in state.answers.items():
        text = " ".join(found[command].told.split())
        assert words in text, command
        assert "internal error" not in text, command


def test_hidden_rows(database: str, templates: Templates, tmp_path: Path) -> None:
    """A role from which row-level security hides rows: verify and export name it, instead of reporting lost rows."""
    setup, role = Setup(tmp_path), f"reader_{uuid4().hex}"
    write_folder(tmp_path / "dump", make_documents())
    templates.copy(f"state {build_done}", database, partial(build_done, setup))
    name = urlsplit(database).path[1:]
    execute(
        database,
        f"CREATE ROLE {role} LOGIN PASSWORD 'reader'; GRANT CREATE ON DATABASE {name} TO {role};"
        f"GRANT USAGE, CREATE ON SCHEMA public, migrator TO {role};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA public, migrator TO {role}",
    )
    parts = urlsplit(database)
    netloc = f"{role}:reader@" + parts.netloc.rpartition("@")[2]
    config = setup.configure(urlunsplit(parts._replace(netloc=netloc)))
    try:
        for command in (("verify", "--level", "counts"), ("verify",), ("export", tmp_path / "out")):
            answer = call(*command, "-c", config)
            assert (answer.code, "row-level security hides rows" in answer.err) == (7, True), answer.told
    finally:
        execute(database, f"DROP OWNED BY {role}; DROP ROLE {role}")


def execute_command(*arguments: str, config: Path) -> Answer:
    handler = signal.getsignal(signal.SIGINT)
    try:
        options = () if "--" in arguments else ("-c", str(config))
        return call(*arguments, *options)
    finally:
        signal.signal(signal.SIGINT, handler)  # psql ignores Ctrl-C from its start


def execute(database: str, statements: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(statements.encode())


class Unchanged:
    """A database that commands must not change."""

    def __init__(self, database: str) -> None:
        self._database, self._digest = database, digest(database)
        self._next = self._next_transaction()

    def check(self, *what: object) -> None:
        """Compares the database with what it was, unless no transaction of the server has written anything since."""
        following = self._next_transaction()
        if following != self._next:
            assert digest(self._database) == self._digest, what
            self._next = following

    def is_again(self) -> None:
        """The database was made again, as it was."""
        self._next = self._next_transaction()

    def _next_transaction(self) -> str:
        with psycopg.connect(self._database, autocommit=True) as connection:
            (found,) = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone() or ("",)
        return str(found)


def digest(database: str) -> dict[str, str]:
    """Returns a digest of all rows, columns and indexes in the schemas of the target and of the records."""
    with psycopg.connect(database, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
            " WHERE schemaname IN ('public', 'migrator') ORDER BY 1"
        ).fetchall()
        digests = {}
        for (table,) in tables:
            rows = sorted(row[0] for row in connection.execute(f"SELECT t::text FROM {table} t".encode()))  # noqa: S608
            digests[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
        objects = "SELECT indexdef FROM pg_indexes UNION ALL SELECT conname::text FROM pg_constraint ORDER BY 1"
        digests["objects"] = repr(connection.execute(objects).fetchall())
    return digests
