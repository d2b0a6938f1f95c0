"""`migrate check`, and the same checks at the start of `plan` and `run`: one environment for each case.

Every blocker names cause and remedy, has the same exit code everywhere, and is found before anything is written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import with_database
from tests.driving import call, dump_database
from tests.pgbouncer import pooled
from tests.scenarios import write_config
from tests.target_server import Server

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"


Case = Callable[[Server], str]  # prepares a server; returns target.url
CASES: dict[str, tuple[Case, int, str, str]] = {}  # exit code, words of the cause, words of the remedy


def case(name: str, code: int, cause: str = "", remedy: str = "") -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[name] = (function, code, cause, remedy)
        return function

    return register


@case("an empty database", 0)
def _(server: Server) -> str:
    return server.url_of(server.create())


@case("LATIN1", 3, "encoding LATIN1", "CREATE DATABASE")
def _(server: Server) -> str:
    return server.url_of(server.create("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))


@case("WIN1252", 3, "encoding WIN1252", "CREATE DATABASE")
def _(server: Server) -> str:
    return server.url_of(server.create("ENCODING 'WIN1252' LOCALE 'C' TEMPLATE template0"))


@case("SQL_ASCII", 0, "SQL_ASCII", "UTF8")
def _(server: Server) -> str:
    return server.url_of(server.create("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))


@case("a read-only role", 3, "set for role", "ALTER ROLE")
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name)
    server.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    return server.url_of(name, role)


@case("a role that is read-only in this database", 3, "set for role", "IN DATABASE")
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name)
    server.execute(f"ALTER ROLE {role} IN DATABASE {name} SET default_transaction_read_only = on")
    return server.url_of(name, role)


@case("a read-only database", 3, "set for database", "ALTER DATABASE")
def _(server: Server) -> str:
    name = server.create()
    server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    return server.url_of(name)


@case("a role without privileges", 3, "may not create", "GRANT CREATE")
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name)
    server.execute(f"REVOKE ALL ON DATABASE {name} FROM {role}")
    server.execute(f"REVOKE ALL ON SCHEMA public FROM {role}", database=name)
    return server.url_of(name, role)


@case("pgvector in a schema that the role may not use", 3, "may not use schema extensions", "GRANT USAGE")
def _(server: Server) -> str:
    name = server.create()
    server.execute("CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions", database=name)
    return server.url_of(name, server.role(name))


@case("pgvector in another schema", 0)
def _(server: Server) -> str:
    name = server.create()
    server.execute("CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions", database=name)
    role = server.role(name)
    server.execute(f"GRANT USAGE ON SCHEMA extensions TO {role}", database=name)
    return server.url_of(name, role)


@case("a role with few connections", 3, "free connections", "CONNECTION LIMIT")
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name, "CONNECTION LIMIT 3")
    return server.url_of(name, role)


@case("a pooler in session mode", 0)
def _(server: Server) -> str:
    return server.exits.enter_context(pooled(with_database(server.url, server.create()), "session"))


@case("a pooler in transaction mode", 7, "pooler in transaction mode", "session mode")
def _(server: Server) -> str:
    return server.exits.enter_context(pooled(with_database(server.url, server.create()), "transaction"))


@case("settings of the role", 0)
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name)
    settings = {
        "datestyle": "'SQL, DMY'", "standard_conforming_strings": "off", "quote_all_identifiers": "on",
        "intervalstyle": "iso_8601", "default_transaction_isolation": "serializable", "statement_timeout": "'5min'",
        "search_path": "pg_temp", "extra_float_digits": "-10", "bytea_output": "escape", "timezone": "'Asia/Tokyo'",
    }  # fmt: skip
    server.execute(*(f"ALTER ROLE {role} SET {key} = {value}" for key, value in settings.items()))
    return server.url_of(name, role)


@case("more settings of the role", 0)
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name)
    settings = {
        "idle_session_timeout": "'1s'", "idle_in_transaction_session_timeout": "'1s'", "lock_timeout": "'1ms'",
        "default_transaction_deferrable": "on", "client_encoding": "LATIN1", "row_security": "off",
        "transform_null_equals": "on", "array_nulls": "off", "xmloption": "document", "check_function_bodies": "off",
        "gin_fuzzy_search_limit": "1", "enable_seqscan": "off", "enable_indexscan": "off", "work_mem": "'64kB'",
        "plan_cache_mode": "force_generic_plan", "default_statistics_target": "1", "jit": "off",
        "backslash_quote": "off", "temp_tablespaces": "''", "default_tablespace": "''", "application_name": "'x'",
        "max_parallel_workers_per_gather": "0", "synchronous_commit": "local", "default_toast_compression": "pglz",
    }  # fmt: skip
    server.execute(*(f"ALTER ROLE {role} SET {key} = {value}" for key, value in settings.items()))
    return server.url_of(name, role)


@case("settings of the database", 0)
def _(server: Server) -> str:
    name = server.create()
    settings = {
        "statement_timeout": "'3s'", "default_transaction_isolation": "'repeatable read'", "search_path": "''",
        "datestyle": "'German'", "client_min_messages": "debug1", "session_replication_role": "local",
        "bytea_output": "escape", "timezone": "'America/St_Johns'", "exit_on_error": "on",
    }  # fmt: skip
    server.execute(*(f"ALTER DATABASE {name} SET {key} = {value}" for key, value in settings.items()))
    return server.url_of(name)


@case("a role that becomes another role", 0)
def _(server: Server) -> str:
    name = server.create()
    role, owner = server.role(name), server.role(name)
    server.execute(f"GRANT {owner} TO {role}", f"ALTER ROLE {role} SET role = {owner}")
    return server.url_of(name, role)


@case("names with spaces, quotes, percent signs and braces", 0)
def _(server: Server) -> str:
    name = server.create(suffix=' My "db" of O\'Neil 100%s {0}')
    return server.url_of(name, server.role(name, suffix=' Der "Wirt" 5%s {x}'))


@case("a tablespace for all that is created", 0)
def _(server: Server) -> str:
    space = server.tablespace()
    name = server.create()
    server.execute(
        f"ALTER DATABASE {name} SET default_tablespace = {space}",
        f"ALTER DATABASE {name} SET temp_tablespaces = {space}",
    )
    return server.url_of(name)


@case("a tablespace that the role may not use", 3, "may not create objects in tablespace", "GRANT CREATE ON TABLESPACE")
def _(server: Server) -> str:
    space = server.tablespace()
    name = server.create()
    role = server.role(name)
    server.execute(f"ALTER ROLE {role} SET default_tablespace = {space}")
    return server.url_of(name, role)


@case("a tablespace that does not exist", 0)
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name)
    server.execute(
        f"ALTER ROLE {role} SET default_tablespace = nowhere", f"ALTER ROLE {role} SET temp_tablespaces = no"
    )
    return server.url_of(name, role)


@case("a password in a role without one", 0)
def _(server: Server) -> str:
    name = server.create()
    return server.url_of(name, server.role(name)) + "&password=any"


@case("a role that may not connect", 7, "may not connect", "GRANT CONNECT")
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name)
    server.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC, {role}")
    return server.url_of(name, role)


@case("a role that may not log in", 7, "does not accept this user", "may log in")
def _(server: Server) -> str:
    name = server.create()
    role = server.role(name)
    server.execute(f"ALTER ROLE {role} NOLOGIN")
    return server.url_of(name, role)


@case("a database that accepts no connections", 7, "does not accept connections", "ALLOW_CONNECTIONS")
def _(server: Server) -> str:
    name = server.create()
    server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    return server.url_of(name)


@case("a database that does not exist", 7, "does not exist", "create")
def _(server: Server) -> str:
    return server.url_of("no_such_database")


# Variants of targets that are tested daily: settings of a role, an empty database in all other tests.
RARE = frozenset(
    {
        "an empty database",
        "a pooler in session mode",
        "more settings of the role",
        "settings of the database",
        "a tablespace for all that is created",
        "a tablespace that does not exist",
    }
)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in RARE)) for name in CASES])
@pytest.mark.usefixtures("quick")
def test_a_target_can_run_or_is_refused_before_anything_is_written(name: str, server: Server, tmp_path: Path) -> None:
    """`check`, `plan` and `run` agree on every target; where they refuse it, they name cause and remedy."""
    prepare, code, cause, remedy = CASES[name]
    url = prepare(server)
    config = write_config(tmp_path / "migrate.toml", f"dump:{DEMO}", url)
    before = "" if code else dump_database(url)
    checked = call("check", "-c", config, "--json")
    assert checked.code == code, checked.told
    assert cause in checked.told
    assert remedy.lower() in checked.told.lower()
    planned = call("plan", "-c", config)
    assert planned.code == code, planned.told
    if not code:
        ran = call("run", "-c", config, "--yes")
        assert ran.code == 0, ran.told
        assert call("verify", "-c", config, "--level", "roundtrip").code == 0
        assert call("revert", "--yes", "-c", config).code == 0
        assert dump_database(url) == before
        return
    ran = call("run", "-c", config, "--yes")
    assert (ran.code, "internal error" in ran.told.lower()) == (7 if "privileges" in name else code, False), ran.told
    assert cause in ran.told


@pytest.mark.parametrize(
    ("kept", "code", "words"),
    [((), 3, "contains none of the collections"), (("users", "conversations"), 0, "no collection agents")],
)
@pytest.mark.usefixtures("quick")
def test_a_source_without_the_expected_collections_is_noticed(
    kept: tuple[str, ...], code: int, words: str, database: str, tmp_path: Path
) -> None:
    """The wrong database is a blocker; single missing collections are a warning."""
    folder = tmp_path / "dump"
    folder.mkdir()
    for name in (*kept, "roles"):
        for suffix in (".bson", ".metadata.json"):
            shutil.copy(DEMO / f"{name}{suffix}", folder)
    config = write_config(tmp_path / "migrate.toml", f"dump:{folder}", database)
    before = dump_database(database)
    for command in (("check",), ("plan",), *([("run", "--yes")] if code else [])):
        answer = call(*command, "-c", config)
        assert answer.code == code, answer.told
        assert words in answer.told
    assert dump_database(database) == before


def test_check_names_source_target_and_tenant_but_no_secret(database: str, tmp_path: Path) -> None:
    """The first line says where data comes from and goes to."""
    config = write_config(tmp_path / "migrate.toml", f"dump:{DEMO}", database)
    found = json.loads(call("check", "-c", config, "--json").out)
    assert found["ok"]
    assert found["source"].startswith("dump:")
    assert found["target"].startswith("postgresql://")
    assert found["tenant"]
