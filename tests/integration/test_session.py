"""What a connection relies on: session settings, the environment, a session that is one session."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from migrator.errors import TargetError
from migrator.postgres import environment, session
from migrator.postgres.pooler import is_transaction_pooled
from migrator.postgres.search_path import schema_of_extension
from migrator.postgres.session import owner_search_path
from migrator.targets.server import ServerTarget
from tests.pgbouncer import pooled

# Values that differ from what the code relies on, for settings whose hostile value is not the other of on and off.
HOSTILE = {
    "TimeZone": "America/New_York", "DateStyle": "SQL, DMY", "IntervalStyle": "iso_8601", "bytea_output": "escape",
    "extra_float_digits": "-15", "xmloption": "document", "default_transaction_isolation": "serializable",
    "backslash_quote": "on", "gin_fuzzy_search_limit": "1", "log_parameter_max_length_on_error": "100",
    "restrict_nonsystem_relation_kind": "view, foreign-table", "default_table_access_method": "heap",
    "transaction_timeout": "60000", "search_path": "pg_temp", "lc_time": "C",
}  # fmt: skip
FLIP = {"on": "off", "off": "on"}


@pytest.fixture
def hostile_role(server_url: str, database: str) -> Iterator[str]:
    """The URL of the database for a role whose settings are all different from what the code relies on."""
    role = f"hostile_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        known = {row[0] for row in connection.execute("SELECT name FROM pg_settings WHERE context = 'user'")}
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER").format(sql.Identifier(role)))
        for name, (value, _) in session.REQUIRED.items():
            hostile = HOSTILE.get(name) or FLIP.get(value) or "60000"
            if name in known:
                setting = sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    sql.Identifier(role), sql.Identifier(name), sql.Literal(hostile)
                )
                connection.execute(setting)
        connection.execute(sql.SQL("ALTER ROLE {} SET search_path = pg_temp").format(sql.Identifier(role)))
    parts = conninfo_to_dict(database)
    yield _url({**parts, "user": role})
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_every_user_setting_of_the_server_has_a_decision(database: str) -> None:
    """Each setting that a role may have is either set on every connection or left alone for a stated reason."""
    with psycopg.connect(database) as connection:
        found = [row[0] for row in connection.execute("SELECT name FROM pg_settings WHERE context = 'user'")]
    assert [name for name in found if session.decide_setting(name) is None] == []


def test_settings_of_a_role_do_not_reach_a_connection(hostile_role: str) -> None:
    """Whatever ALTER ROLE … SET says, a connection has the values that the code relies on."""
    with ServerTarget(hostile_role).connect() as connection:
        found: dict[str, str] = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        plain = {name: found[name] for name in session.REQUIRED if name in found and not name.startswith("tcp_")}
        assert plain == {name: session.REQUIRED[name][0] for name in plain}
        assert found["search_path"] == '"pg_catalog", "pg_temp"'


def test_a_vector_extension_in_another_schema_is_found(database: str) -> None:
    """The schema of pgvector follows `public` in the search path of the owner's functions."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "Exten sions"')
        connection.execute('CREATE EXTENSION vector WITH SCHEMA "Exten sions"')
    with ServerTarget(database).connect() as connection:
        with connection.transaction(), owner_search_path(connection):
            assert connection.execute("SELECT '[1,2]'::vector <=> '[1,2]'::vector").fetchone() == (0.0,)
            found = connection.execute("SELECT current_setting('search_path')").fetchone()
        assert found == ('"public", "Exten sions", pg_temp',)
        assert schema_of_extension(connection, "vector") == "Exten sions"


@pytest.mark.parametrize(("mode", "shared"), [("session", False), ("transaction", True)])
def test_a_pooler_in_transaction_mode_is_recognised(database: str, mode: str, shared: bool) -> None:
    """Two connections through it share server connections; in session mode they do not."""
    with pooled(database, mode) as url, opened(url) as one, opened(url) as other:
        assert is_transaction_pooled(one, other) is shared


def test_a_pooler_in_transaction_mode_is_refused_by_name(database: str) -> None:
    """The target is refused with cause and remedy before anything is written."""
    with pooled(database, "transaction") as url, pytest.raises(TargetError, match="pooler in transaction mode"):
        ServerTarget(url).connect()


@pytest.mark.parametrize("name", sorted(environment.libpq_variables()))
def test_no_variable_of_libpq_is_configuration(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable is removed from the environment, and its name is returned."""
    monkeypatch.setenv(name, "elsewhere")
    assert environment.remove_libpq_variables() == {name: "elsewhere"}
    assert name not in os.environ


def opened(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True)


def _url(parts: Mapping[str, Any]) -> str:
    return make_conninfo("", **parts)
