"""What scripts rely on (contract.md): exit codes, one JSON document, help with examples, and no secrets anywhere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import typer.main

from migrator import cli
from tests.driving import Answer, call, digest_database
from tests.processes import finish
from tests.refusing import refusing_server
from tests.scenarios import read_scenario, write_config, write_dump
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")

SECRET = "s3cret-pa55w0rd"
ID = "64a000000000000000000101"


@pytest.fixture
def chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that commands write by a relative name go to the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def migrated(database: str, templates: Templates, tmp_path: Path) -> Path:
    """A finished migration of a small scenario, with rejects and findings; its migrate.toml."""

    def build(url: str) -> None:
        assert call("run", "-c", configure(url, tmp_path)).code == 0

    templates.copy("orphans-rejected", database, build)
    return configure(database, tmp_path)


def configure(database: str, folder: Path, scenario: str = "orphans-rejected") -> Path:
    source = write_dump(read_scenario(scenario), folder / "dump")
    return write_config(folder / "migrate.toml", f"dump:{source}", database)


def query(database: str, statement: str) -> list[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


# --- exit codes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[source]\nurl = \"dump:x\"\n", "target"),
        ("[source]\nurl = \"dump:x\"\n[target]\nulr = \"embedded:x\"\n", "url"),
        ("[source]\nurl = \"dump:x\"\n[target]\nurl = \"mysql://x\"\n", "postgresql://"),
        ("not TOML", "TOML"),
    ],
)  # fmt: skip
def test_bad_configuration_is_2(text: str, said: str, tmp_path: Path) -> None:
    """A mistake in migrate.toml ends with exit code 2 and says what is wrong."""
    path = tmp_path / "migrate.toml"
    path.write_text(text)
    answer = call("plan", "-c", path)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize("arguments", [("frobnicate",), ("run", "--frobnicate"), ("verify", "--level", "x"), ("id",)])
def test_bad_usage_is_2(arguments: tuple[str, ...]) -> None:
    """An unknown command, option, level or a missing argument ends with exit code 2."""
    assert call(*arguments).code == 2


@pytest.mark.parametrize("command", ["plan", "run", "verify"])
def test_missing_source_is_7(command: str, database: str, tmp_path: Path) -> None:
    """A dump that is not there ends with exit code 7 and is named."""
    config = write_config(tmp_path / "migrate.toml", f"dump:{tmp_path / 'nowhere'}", database)
    answer = call(command, "-c", config)
    assert answer.code == 7
    assert "nowhere" in answer.err


@pytest.mark.parametrize("command", [("plan",), ("run",), ("verify",), ("status",), ("revert", "--yes")])
def test_wrong_password_is_7(command: tuple[str, ...], tmp_path: Path) -> None:
    """A server that refuses the password: exit code 7, what to check, and the password is nowhere to be read."""
    with refusing_server() as port:
        url = f"postgresql://app:{SECRET}@127.0.0.1:{port}/app?sslmode=disable&gssencmode=disable"
        answer = call(*command, "-c", configure(url, tmp_path), "-v")
    assert answer.code == 7
    assert "password" in answer.err
    assert SECRET not in answer.told


def test_unreachable_server_is_7(tmp_path: Path) -> None:
    """Nobody listens: exit code 7, and the URL is shown without its password."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    answer = finish("run", "-c", configure(f"postgresql://app:{SECRET}@127.0.0.1:{port}/app", tmp_path), "-v", "--json")
    assert answer.code == 7
    assert SECRET not in answer.told


def test_blockers_are_3(database: str, tmp_path: Path) -> None:
    """A table of the same name that is another one: plan ends with exit code 3, and run refuses likewise."""
    query(database, "CREATE TABLE users (id integer PRIMARY KEY)")
    config = configure(database, tmp_path)
    planned = call("plan", "-c", config, "--json")
    assert (planned.code, planned.json["blockers"]) == (3, 1)
    refused = call("run", "-c", config)
    assert refused.code == 3
    assert "users" in refused.err


@pytest.mark.parametrize("change", ["source", "target", "configuration"])
def test_plan_that_no_longer_fits_is_3(change: str, database: str, tmp_path: Path) -> None:
    """A saved plan is executed exactly, or refused when source, target or settings moved on."""
    config, plan = configure(database, tmp_path), tmp_path / "plan.json"
    assert call("plan", "-c", config, "--out", plan).code == 0
    match change:
        case "source":
            with (tmp_path / "dump" / "users.bson").open("ab") as file:
                file.write(b"\x05\0\0\0\0")
        case "target":
            query(database, "CREATE TABLE tenants (id uuid PRIMARY KEY, name text, subdomain text)")
        case "configuration":
            config.write_text(config.read_text() + "\n[policies]\nduplicate_email = 'merge'\n")
    answer = call("run", "-c", config, "--plan", plan)
    assert answer.code == 3
    assert change in answer.err or change == "target"


def test_plan_that_fits_runs(database: str, tmp_path: Path) -> None:
    """A saved plan of an unchanged source and target is executed."""
    config, plan = configure(database, tmp_path), tmp_path / "plan.json"
    assert call("plan", "-c", config, "--out", plan).code == 0
    assert call("run", "-c", config, "--plan", plan).code == 0


# What is found in each way is in the mutations, too; every day one of a kind: row, record, reject, schema.
CORRUPTIONS = {
    "a changed text": "UPDATE messages SET content = content || '!'",
    "a forgotten document": "DELETE FROM migrator.ledger WHERE collection = 'agents'",
    "a changed reject": "UPDATE migrator.rejects SET document = '\\x0500000000' WHERE collection = 'files'",
    "a missing key": "ALTER TABLE messages DROP CONSTRAINT messages_parent_id_messages_id_fk",
}
MORE_CORRUPTIONS = {
    "a lost row": "DELETE FROM memories",
    "an added row": "INSERT INTO courses (tenant_id, title, instructor) SELECT id, 'x', '' FROM tenants",
    "a changed date": "UPDATE users SET created_at = created_at + interval '1 millisecond'",
    "a lost residue": "UPDATE migrator.ledger SET residue = NULL WHERE collection = 'conversations'",
    "a lost reject": "DELETE FROM migrator.rejects WHERE collection = 'files'",
    "a missing index": "DROP INDEX messages_search_idx",
}


@pytest.mark.parametrize(
    "statement",
    [
        *(pytest.param(statement, id=name) for name, statement in CORRUPTIONS.items()),
        *(pytest.param(statement, id=name, marks=pytest.mark.long) for name, statement in MORE_CORRUPTIONS.items()),
    ],
)
def test_difference_is_4(statement: str, migrated: Path, database: str) -> None:
    """Whatever is wrong in the target, verify ends with exit code 4."""
    query(database, statement)
    answer = call("verify", "-c", migrated, "--level", "roundtrip", "--json")
    assert (answer.code, answer.json["ok"]) == (4, False)


def test_revert_refused_is_6(migrated: Path, database: str) -> None:
    """Rows that the application wrote since hang on migrated ones: exit code 6 and nothing changed; --force removes."""
    query(
        database,
        "INSERT INTO memories (tenant_id, user_id, key, value) SELECT tenant_id, id, 'k', 'v' FROM users LIMIT 1",
    )
    before = digest_database(database)
    answer = call("revert", "-c", migrated, "--yes")
    assert answer.code == 6
    assert "memories" in answer.err
    assert digest_database(database) == before
    assert call("revert", "-c", migrated, "--yes", "--force").code == 0
    assert query(database, "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'migrator')") == [(0,)]


def test_revert_without_yes_asks(migrated: Path, database: str) -> None:
    """Without --yes and without anybody to ask, nothing is taken back."""
    before = digest_database(database)
    assert call("revert", "-c", migrated, "--json").code == 2
    assert digest_database(database) == before


@pytest.mark.parametrize("command", [("verify",), ("revert", "--yes"), ("export", "out"), ("rejects", "list")])
def test_no_migration_is_2(command: tuple[str, ...], database: str, tmp_path: Path, chdir: None) -> None:
    """A command about a migration that is not there says so."""
    answer = call(*command, "-c", configure(database, tmp_path))
    assert answer.code == 2
    assert "no migration" in answer.err


# --- a truncated dump ---------------------------------------------------------------------------------------------


def test_truncated_dump_is_7(database: str, tmp_path: Path) -> None:
    """A dump cut off: exit code 7 with file and byte; what was read is in the accounts, nothing half-read is done."""
    config = configure(database, tmp_path)
    file = tmp_path / "dump" / "messages.bson"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - 10])
    assert call("plan", "-c", config).code == 7
    answer = call("run", "-c", config)
    assert answer.code == 7
    assert "messages.bson, byte" in answer.err
    found = call("status", "-c", config, "--json").json
    complete = {each["name"]: each["complete"] for each in found["collections"]}
    assert complete["users"]
    assert not complete.get("messages", False)
    loaded = "SELECT count(*) FROM migrator.ledger WHERE collection = 'messages' AND outcome = 'loaded'"
    assert query(database, "SELECT count(*) FROM messages") == query(database, loaded)

    file.write_bytes(whole)
    changed = call("run", "-c", config)
    assert changed.code == 2  # another source than the one that began
    assert "source" in changed.err
    assert call("revert", "-c", config, "--yes").code == 0
    assert call("run", "-c", config).code == 0
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


# --- JSON, help, secrets ------------------------------------------------------------------------------------------


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words."""
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_ends_with_an_example(path: tuple[str, ...]) -> None:
    """`--help` of every command ends with an example of this very command."""
    answer = call(*path, "--help")
    assert answer.code == 0
    last = " ".join(answer.out.rstrip().rpartition("Example:")[2].split())
    assert last.startswith("migrate " + " ".join(path))


@pytest.mark.parametrize("path", [path for path in COMMANDS if path != ("version",)], ids=" ".join)
def test_options_of_every_command(path: tuple[str, ...]) -> None:
    """Every command takes --config, --json, --verbose and --quiet."""
    options = {spelling for parameter in COMMANDS[path].params for spelling in parameter.opts}
    assert options >= {"--config", "-c", "--json", "--verbose", "-v", "--quiet", "-q"}


ASKED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("init",): ("new.toml",),
    ("plan",): (),
    ("run",): (),
    ("status",): (),
    ("history",): (),
    ("verify",): (),
    ("export",): ("rebuilt",),
    ("schema",): (),
    ("id",): ("users", ID),
    ("rejects", "list"): (),
    ("rejects", "show"): ("1",),
    ("rejects", "retry"): (),
    ("rejects", "export"): ("rejects.jsonl",),
    ("revert",): ("--yes",),
}


def test_json_is_one_document(migrated: Path, chdir: None) -> None:
    """With --json, stdout carries exactly one JSON document, whatever the command; failures likewise."""
    for path, arguments in ASKED.items():
        config = ("-c", str(migrated))
        answer = call(*path, *arguments, *config, "--json")
        assert (path, answer.code) == (path, 0), answer.told
        assert isinstance(answer.json, dict)
    failed = call("verify", "-c", migrated, "--json")
    assert failed.json["error"]["exit_code"] == failed.code == 2


def test_json_has_the_contract_s_keys(migrated: Path) -> None:
    """The shapes that contract.md promises."""
    planned = call("plan", "-c", migrated, "--json").json
    assert planned.keys() >= {"fingerprint", "source", "steps", "blockers", "estimate"}
    assert planned["source"]["collections"][0].keys() >= {
        "name", "documents", "bytes", "mapping", "predicted", "fields", "findings",
    }  # fmt: skip
    ran = call("run", "-c", migrated, "--json").json
    assert ran.keys() >= {"run", "status", "collections", "tables", "seconds"}
    verified = call("verify", "-c", migrated, "--json").json
    assert verified.keys() >= {"ok", "level", "checks", "collections", "seconds"}
    assert verified["checks"][0].keys() >= {"check", "table", "ok", "expected", "actual", "differences", "examples"}
    assert call("revert", "-c", migrated, "--yes", "--json").json.keys() >= {"run", "status", "tables"}


def test_run_again_does_nothing(migrated: Path, database: str) -> None:
    """A finished migration run again is exit code 0 and the same tables."""
    before = digest_database(database)
    assert call("run", "-c", migrated).code == 0
    assert digest_database(database) == before


def test_no_secret_in_any_output(server_url: str, database: str, tmp_path: Path, chdir: None) -> None:
    """A password in the target's URL is in no output, verbose or not, in no plan and in no record."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS secretive")
        connection.execute(f"CREATE ROLE secretive LOGIN SUPERUSER PASSWORD '{SECRET}'".encode())
    parts = urlsplit(database)
    url = urlunsplit(parts._replace(netloc=f"secretive:{SECRET}@" + parts.netloc.rpartition("@")[2]))
    config, told = configure(url, tmp_path), []
    for path, arguments in {**ASKED, ("plan",): ("--out", "plan.json")}.items():
        if path not in {("init",), ("id",)}:  # they read no configuration
            told.append(call(*path, *arguments, "-c", config, "-v"))
            assert (path, told[-1].code) == (path, 0)
            if path == ("run",):
                told.append(Answer(code=0, out=str(query(database, "SELECT * FROM migrator.runs")), err=""))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP ROLE secretive")
    assert all(SECRET not in answer.told for answer in told)
    assert SECRET not in (tmp_path / "plan.json").read_text()


def test_unknown_adopter_is_3(database: str, tmp_path: Path) -> None:
    """A user of policies.orphan_owner who is not in the source is a blocker, before anything is written."""
    source = write_dump(read_scenario("orphans-adopted"), tmp_path / "dump")
    settings = {"policies": {"orphan_owner": "nobody@example.com"}}
    config = write_config(tmp_path / "migrate.toml", f"dump:{source}", database, settings)
    answer = call("run", "-c", config)
    assert answer.code == 3
    assert "orphan_owner" in answer.err
