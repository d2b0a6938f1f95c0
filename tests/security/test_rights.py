"""Roles that may do little: what is missing is named with the statement that grants it, and little is enough."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import bson
import psycopg
import pytest
from psycopg import sql

from tests.acceptance.test_report import OWNER, make_conversation, make_user  # a small source
from tests.archive_writer import write_folder
from tests.driving import call
from tests.scenarios import write_config

TENANT = "0190b5a0-0000-7000-8000-000000000001"


def execute(url: str, *statements: str) -> None:
    """As a superuser; ROLE and OWN stand for the role and for its database."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def new_role(server_url: str, database: str) -> Iterator[Callable[[], str]]:
    """Makes roles that may log in, and nothing else."""
    made: list[str] = []

    def make() -> str:
        made.append(f"role_{uuid.uuid4().hex[:12]}")
        execute(server_url, f"CREATE ROLE {made[-1]} LOGIN")
        return made[-1]

    yield make
    for role in made:
        execute(database, f"DROP OWNED BY {role} CASCADE")
        execute(server_url, f"DROP ROLE {role}")


def configure(folder: Path, database: str, role: str) -> Path:
    documents = {"users": [make_user(0)], "conversations": [make_conversation(1, OWNER)], "odd": [{"_id": 1}]}
    source = folder / "dump"
    if not source.exists():
        write_folder(source, {name: [bson.encode(each) for each in some] for name, some in documents.items()})
    head, _, rest = database.partition("://")
    return write_config(folder / f"{role}.toml", f"dump:{source}", f"{head}://{role}@{rest.partition('@')[2]}")


def name_of(database: str) -> str:
    return psycopg.conninfo.conninfo_to_dict(database)["dbname"]  # type: ignore[return-value]


def test_what_is_missing_is_granted_as_told(database: str, new_role: Callable[[], str], tmp_path: Path) -> None:
    """Following the hints of `run` one by one leads to a run; `plan` names the same as a blocker."""
    role = new_role()
    config = configure(tmp_path, database, role)
    assert "may not create" in call("plan", "-c", config, "-q").out
    answer = call("run", "-c", config)
    assert answer.code == 7, answer.told
    wanted = [f"GRANT CREATE ON SCHEMA public TO {role};", f"GRANT CREATE ON DATABASE {name_of(database)} TO {role};"]
    for each in (*wanted, "CREATE EXTENSION vector;"):
        assert each in answer.err
    execute(database, *wanted, "CREATE EXTENSION vector")
    assert call("run", "-c", config).code == 0
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0
    assert call("status", "-c", config).code == 0
    assert call("report", "-c", config, "--html", tmp_path / "r.html").code == 0
    assert call("export", "-c", config, tmp_path / "out").code == 0
    assert call("revert", "-c", config, "--yes").code == 0


def test_one_right_of_three(database: str, new_role: Callable[[], str], tmp_path: Path) -> None:
    """Only what is missing is asked for."""
    role = new_role()
    config = configure(tmp_path, database, role)
    execute(database, f"GRANT CREATE ON SCHEMA public TO {role}", "CREATE EXTENSION vector")
    answer = call("run", "-c", config)
    assert answer.code == 7
    assert f"GRANT CREATE ON DATABASE {name_of(database)} TO {role};" in answer.err
    assert "SCHEMA public" not in answer.err
    assert "EXTENSION" not in answer.err


def test_a_role_that_only_reads(database: str, new_role: Callable[[], str], tmp_path: Path) -> None:
    """`status`, `report`, `rejects`, `export` need to read, and a tenant where rows are hidden; nothing else works."""
    owner, reader = new_role(), new_role()
    execute(
        database,
        f"GRANT CREATE ON DATABASE {name_of(database)} TO {owner}",
        f"GRANT CREATE ON SCHEMA public TO {owner}",
        "CREATE EXTENSION vector",
    )
    assert call("run", "-c", configure(tmp_path, database, owner)).code == 0
    config = configure(tmp_path, database, reader)
    answer = call("status", "-c", config)
    assert answer.code == 7
    assert f"GRANT USAGE ON SCHEMA migrator TO {reader}; GRANT SELECT ON ALL TABLES" in answer.err
    execute(
        database,
        f"GRANT USAGE ON SCHEMA migrator TO {reader}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA migrator, public TO {reader}",
    )
    for command in (("status",), ("rejects", "list"), ("report", "--html", tmp_path / "r.html")):
        answer = call(*command, "-c", config)
        assert answer.code == 0, answer.told
    hidden = call("export", "-c", config, tmp_path / "out")
    assert hidden.code == 7
    assert f"ALTER ROLE {reader} SET app.current_tenant_id" in hidden.err
    execute(database, f"ALTER ROLE {reader} SET app.current_tenant_id = '{TENANT}'")
    assert call("export", "-c", config, tmp_path / "out2").code == 0
    for command in (("verify",), ("revert", "--yes"), ("rejects", "retry")):
        answer = call(*command, "-c", config)
        assert answer.code == 7, (command, answer.told)
        assert reader in answer.err
    with psycopg.connect(database) as connection:
        query = sql.SQL("SELECT count(*) FROM users")
        assert connection.execute(query).fetchone() == (1,)
