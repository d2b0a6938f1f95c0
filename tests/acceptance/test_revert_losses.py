"""Data that a revert would delete: it is found, the revert is refused, and --force --save writes it to files."""

# ruff: noqa: S608 - statements of these tests

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migrator.targets.bundled import program_path
from tests.archive_writer import write_folder
from tests.driving import Answer, call, digest_database, dump_database
from tests.integration.schemas import CONTRACT, OTHERS, add_rows
from tests.scenarios import write_config
from tests.talks import make_talks
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")

TENANT = "0190b5a0-0000-7000-8000-000000000001"
NEW = "99999999-9999-4999-8999-9999999999"  # and two digits

# A table of the application's own, outside the target's schema, with an odd name and no primary key.
ODD = """
CREATE SCHEMA app;
CREATE TABLE app."Odd/""notes" (who uuid REFERENCES public.users ON DELETE CASCADE, note json);
CREATE TABLE app.pinned (id int PRIMARY KEY, talk uuid REFERENCES public.conversations ON DELETE SET NULL);
"""


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("talks") / "dump", make_talks(messages=100))


@pytest.fixture
def config(dump: Path, database: str, tmp_path: Path) -> Path:
    return write_config(tmp_path / "migrate.toml", f"dump:{dump}", database)


@pytest.fixture
def shared(dump: Path, database: str, config: Path, templates: Templates) -> str:
    """Migrate into a database with another tenant; the value is the output of pg_dump before the migration."""

    def build(url: str) -> str:
        set_up_shared(url)
        before = dump_database(url)
        build_config = write_config(config.with_name("template.toml"), f"dump:{dump}", url)
        assert call("run", "-c", build_config).code == 0
        return before

    return templates.copy("100 messages, shared", database, build)


def set_up_shared(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(CONTRACT)
        connection.execute("ALTER TABLE messages DROP CONSTRAINT messages_parent_id_messages_id_fk")
        add_rows(connection, OTHERS)
        connection.execute(ODD)


def execute(database: str, *statements: str) -> list[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def refused(config: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the losses of a refused revert: (table, kind) → count and IDs."""
    answer = call("revert", "--yes", "--json", "-c", config)
    assert answer.code == 6, answer.told
    return {(each["table"], each["kind"]): each for each in answer.json["error"]["losses"]}


def some(database: str, table: str, order: str = "id") -> str:
    return str(execute(database, f"SELECT id FROM {table} WHERE tenant_id = '{TENANT}' ORDER BY {order}")[0][0])


def test_nothing_is_lost_where_nobody_wrote(shared: str, database: str, config: Path) -> None:
    """Maintenance (VACUUM, FREEZE, rewrite, ANALYZE) is not a modification: the tables are reverted."""
    execute(database, "VACUUM FREEZE messages", "VACUUM FULL users", "CLUSTER users USING users_pkey", "ANALYZE")
    execute(database, "ALTER TABLE users SET WITHOUT CLUSTER", "SELECT FROM conversations FOR UPDATE")
    assert call("revert", "--yes", "-c", config).code == 0
    assert sorted(dump_database(database).splitlines()) == sorted(shared.splitlines())


CHANGES = {
    "a changed text": ("messages", "modified", "UPDATE messages SET content = content || ' ' WHERE id = '{id}'"),
    "a changed date": (
        "users",
        "modified",
        "UPDATE users SET created_at = created_at + interval '1 ms' WHERE id = '{id}'",
    ),
    "a row with another id": ("messages", "deleted", "UPDATE messages SET id = gen_random_uuid() WHERE id = '{id}'"),
    "a deleted row": ("messages", "deleted", "DELETE FROM messages WHERE id = '{id}'"),
}


def test_a_change_since_is_found(shared: str, database: str, config: Path) -> None:
    """Each migrated row that the application modified or deleted is listed with exit code 6; nothing is changed."""
    execute(database, f"UPDATE messages SET parent_id = NULL WHERE tenant_id = '{OTHERS}'")
    known: set[str] = set()
    for change, (table, kind, statement) in CHANGES.items():
        # A row that got another ID is in the table, but none that the migration made.
        fresh = "EXISTS (SELECT FROM migrator.ledger l WHERE l.target_id = t.id::text)"
        fresh += " AND NOT EXISTS (SELECT FROM messages c WHERE c.parent_id = t.id)"
        fresh += "".join(f" AND id <> '{each}'" for each in known)
        row = str(execute(database, f"SELECT id FROM {table} t WHERE tenant_id = '{TENANT}' AND {fresh}")[0][0])
        execute(database, statement.format(id=row))
        known.add(row)
        before = digest_database(database)
        assert row in refused(config)[table, kind]["ids"], change
        assert digest_database(database) == before


def test_the_tenant_s_own_row_counts(shared: str, database: str, config: Path) -> None:
    """A modification of the tenant that the migration created is found as well."""
    execute(database, f"""UPDATE tenants SET branding = '{{"primary": "#123456"}}' WHERE id = '{TENANT}'""")
    assert refused(config).keys() == {("tenants", "modified")}


def write_since(database: str) -> dict[str, str]:
    """Write as an application does after a cutover, and return the IDs by meaning."""
    user, talk, message = (some(database, table) for table in ("users", "conversations", "messages"))
    new = {name: f"{NEW}{number:02}" for number, name in enumerate(("talk", "message", "user", "other"))}
    execute(
        database,
        f"""
        INSERT INTO users (id, tenant_id, email) VALUES ('{new["user"]}', '{TENANT}', 'new@example.com');
        INSERT INTO conversations (id, tenant_id, user_id, provider, model)
          VALUES ('{new["talk"]}', '{TENANT}', '{user}', 'openai', 'x');
        INSERT INTO messages (id, tenant_id, conversation_id, content, role)
          VALUES ('{new["message"]}', '{OTHERS}', '{new["talk"]}', E'two\\nlines "quoted" \\\\ ü', 'user');
        INSERT INTO messages (id, tenant_id, conversation_id, content, role, parent_id)
          VALUES ('{new["other"]}', '{OTHERS}', '{OTHERS}', 'of a tenant that was there', 'user', NULL);
        UPDATE messages SET content = 'edited', created_at = '2024-02-29 12:34:56.789012' WHERE id = '{message}';
        INSERT INTO app."Odd/""notes" VALUES ('{user}', '{{"a":\n 1.10, "a": 2}}');
        INSERT INTO app.pinned VALUES (1, '{talk}'), (2, NULL), (3, '{OTHERS}');
        """,
    )
    return {**new, "message_changed": message}


def test_rows_that_refer_to_migrated_rows_are_found(shared: str, database: str, config: Path) -> None:
    """Rows that refer to migrated rows are found: directly, through new rows, from other tables; no other rows are."""
    ids = write_since(database)
    found = refused(config)
    assert {key: each["count"] for key, each in found.items()} == {
        ("users", "foreign_referrer"): 1,
        ("conversations", "foreign_referrer"): 1,
        ("messages", "foreign_referrer"): 1,
        ("messages", "modified"): 1,
        ('app.Odd/"notes', "foreign_referrer"): 1,
        ("app.pinned", "set_null"): 1,
    }
    assert found["messages", "foreign_referrer"]["ids"] == [ids["message"]]
    assert found["app.pinned", "set_null"]["ids"] == ["1"]


def test_what_is_lost_is_saved_and_comes_back(shared: str, database: str, config: Path, tmp_path: Path) -> None:
    """--force --save writes every column of these rows; afterwards the database is in its previous state."""
    ids = write_since(database)
    folder = tmp_path / "saved"
    tables = ("users", "conversations", "messages", 'app."Odd/""notes"', "app.pinned")
    before = {table: read_table(database, table) for table in tables}
    answer = call("revert", "--yes", "--force", "--save", folder, "--json", "-c", config)
    assert answer.code == 0, answer.told
    assert sum(answer.json["saved"].values()) == 6
    assert (folder.stat().st_mode & 0o777, {each.stat().st_mode & 0o777 for each in folder.iterdir()}) == (
        0o700,
        {0o600},
    )
    for table in tables:
        after, saved = read_table(database, table), read_saved(database, folder, table)
        assert len(saved) == {"messages": 2}.get(table, 1)
        # The same rows, every column as text; a line break between tokens of a `json` column is a space.
        assert saved <= {row.replace("\n", " ") for row in before[table]} | before[table], table
        assert table == "app.pinned" or not saved & after
    assert read_table(database, "app.pinned") == {"(1,)", "(2,)", f"(3,{OTHERS})"}
    execute(database, f"DELETE FROM messages WHERE id = '{ids['other']}'", "TRUNCATE app.pinned")
    assert dump_database(database) == shared


def read_table(database: str, table: str) -> set[str]:
    return {row[0] for row in execute(database, f"SELECT t::text FROM {table} t")}


def read_saved(database: str, folder: Path, table: str) -> set[str]:
    """Return the rows of a file after PostgreSQL has parsed them."""
    names = {'app.Odd/"notes': "app.Odd%2F%22notes"}
    plain = table.replace('""', "\0").replace('"', "").replace("\0", '"')
    name = names.get(plain, plain if "." in plain else f"public.{plain}")
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    assert all(json.loads(line).keys() == {"kind", "id", "row"} for line in lines)
    with psycopg.connect(database) as connection:
        query = f"SELECT json_populate_record(NULL::{table}, %s::json->'row')::text"
        return {connection.execute(query.encode(), (line,)).fetchone()[0] for line in lines}  # type: ignore[index]


def test_rows_in_tables_that_the_migration_made_are_found(database: str, config: Path) -> None:
    """Rows of a tenant that was added later are found, and are deleted with the tables that the migration created."""
    assert call("run", "-c", config).code == 0
    execute(database, f"INSERT INTO tenants (id, name, subdomain) VALUES ('{OTHERS}', 'O', 'o')")
    execute(database, f"INSERT INTO users (tenant_id, email) VALUES ('{OTHERS}', 'o@example.com')")
    assert refused(config).keys() == {("tenants", "in_dropped_table"), ("users", "in_dropped_table")}
    assert call("revert", "--yes", "--force", "-c", config).code == 0
    assert execute(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_what_was_added_to_tables_of_ours_is_found(database: str, config: Path, tmp_path: Path) -> None:
    """A column and an index that the application added to a table are listed; nothing else is."""
    assert call("run", "-c", config).code == 0
    execute(database, "ALTER TABLE users ADD phone text DEFAULT ''", "CREATE INDEX ours_idx ON users (phone)")
    (found,) = refused(config).items()
    assert (found[0], set(found[1]["ids"])) == (("users", "schema_altered"), {"column phone", "index ours_idx"})
    assert call("revert", "--yes", "--force", "--save", tmp_path / "saved", "-c", config).code == 0
    assert (tmp_path / "saved" / "public.users.jsonl").read_text().count('"schema_altered"') == 2


def test_a_change_is_not_hidden_by_a_write_of_ours(shared: str, database: str, config: Path) -> None:
    """A modification before `rejects retry` writes the same row is still found."""
    talk = some(database, "conversations")
    execute(
        database,
        f"UPDATE conversations SET title = 'mine', last_message_at = '2001-01-01' WHERE id = '{talk}'",
    )
    assert call("rejects", "retry", "-c", config).code == 0
    assert execute(database, f"SELECT last_message_at > '2001-01-01' FROM conversations WHERE id = '{talk}'") == [
        (True,)
    ]
    assert refused(config)["conversations", "modified"]["ids"] == [talk]


def test_a_restored_database_is_not_trusted(
    database: str, config: Path, new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After pg_dump and psql the last writer of a row is unknown: all rows count as possibly modified."""
    assert call("run", "-c", config).code == 0
    restored = new_database()
    loading = subprocess.run(
        [str(program_path("psql")), "-q", "-v", "ON_ERROR_STOP=1", restored],
        input=dump_database(database), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert loading.returncode == 0, loading.stderr
    monkeypatch.setenv("MIGRATE_TARGET__URL", restored)
    assert {kind for _, kind in refused(config)} == {"unattributable"}
    assert call("revert", "--yes", "--force", "--save", tmp_path / "saved", "-c", config).code == 0
    assert len((tmp_path / "saved" / "public.messages.jsonl").read_text().splitlines()) > 50


def test_saving_overwrites_nothing(shared: str, database: str, config: Path, tmp_path: Path) -> None:
    """A folder that is not empty or cannot be created is refused before any change; so is --save without --force."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    write_since(database)
    before = digest_database(database)
    for folder in (tmp_path / "full", tmp_path / "full" / "file", Path("/proc/none")):
        assert call("revert", "--yes", "--force", "--save", folder, "-c", config).code == 2, folder
    assert call("revert", "--yes", "--save", tmp_path / "new", "-c", config).code == 2
    assert digest_database(database) == before


def test_losing_for_ever_is_said(shared: str, database: str, config: Path) -> None:
    """--force without --save reports the number of lost rows."""
    write_since(database)
    answer: Answer = call("revert", "--yes", "--force", "-c", config)
    assert answer.code == 0
    assert "6 rows" in answer.told
    assert "deleted permanently" in answer.told
