"""A target in which every ID is in use: documents are rekeyed in batches with the same result as one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import bson
import psycopg
import pytest

from tests.archive_writer import write_folder
from tests.driving import call, digest_database
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")

# Another tenant has the conversations and messages of an earlier migration, with its own account.
OTHERS = """
SET session_replication_role = replica;
INSERT INTO tenants (id, name, subdomain) VALUES ('0190b5a0-0000-7000-8000-00000000000e', 'O', 'o');
INSERT INTO users (id, tenant_id, email, created_at, updated_at)
  SELECT id, id, 'o@example.org', '2024-01-01', '2024-01-01' FROM tenants WHERE subdomain = 'o';
UPDATE conversations SET (tenant_id, user_id) = (SELECT id, id FROM tenants WHERE subdomain = 'o');
UPDATE messages SET tenant_id = (SELECT id FROM tenants WHERE subdomain = 'o');
DELETE FROM users WHERE email <> 'o@example.org';
DELETE FROM tenants WHERE subdomain <> 'o';
DROP SCHEMA migrator CASCADE;
"""


def test_many_at_once(new_database: Callable[[], str], tmp_path: Path) -> None:
    """Rows, ledger, aliases and findings are equal and as predicted; some of the conflicts are not simple."""
    made = make_talks(messages=120)
    original = bson.decode(
        made["messages"][0]
    )  # the same ObjectId as a string: both documents have the same derived ID
    another = {"_id": str(original["_id"]), "messageId": "77777777-7777-4777-8777-777777777777"}
    made["messages"].append(bson.encode({**original, **another}))
    url = f"dump:{write_folder(tmp_path / 'dump', made)}"
    at_once, one_by_one = new_database(), new_database()
    found = []
    for database, plain in ((at_once, True), (one_by_one, False)):
        config = write_config(tmp_path / "migrate.toml", url, database)
        assert call("run", "-c", config).code == 0
        with psycopg.connect(database) as connection:
            connection.execute(OTHERS.encode())
        before = digest_rows(database)
        planned = call("plan", "-c", config, "--json").json
        if plain:
            answer = call("run", "-c", config, "--json")
        else:
            with patch("migrator.reconciliation.conflicts.rekey_simple", lambda writer, rejects: iter(())):
                answer = call("run", "-c", config, "--json")
        assert answer.code == 0, answer.told
        assert answer.json["findings"]["rekeyed"] > 120
        told: Counter[str] = Counter()
        for each in (f for c in planned["source"]["collections"] for f in c["findings"]):
            told[each["code"]] += each["count"]
        assert told == answer.json["findings"] | answer.json["rejects"]
        found.append(digest_database(database))
        proof = call("verify", "-c", config)
        assert proof.code == 0, proof.out[-2000:]
        assert call("revert", "--yes", "-c", config).code == 0
        assert digest_rows(database) == before
    assert found[0] == found[1]


def digest_rows(database: str) -> list[tuple[str, str]]:
    tables = ("users", "conversations", "messages", "tenants")
    with psycopg.connect(database) as connection:
        query = " UNION ALL ".join(
            f"SELECT '{name}', sum(hashtextextended(t::text, 0))::text FROM {name} t"  # noqa: S608
            for name in tables
        )
        return connection.execute(query.encode()).fetchall()
