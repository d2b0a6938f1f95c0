"""After `rejects retry` the target is what a run with the mended settings, or the mended source, would have made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import psycopg
import pytest

from tests.archive_writer import write_folder
from tests.driving import call, digest_database
from tests.scenarios import write_config
from tests.talks import make_talks
from tests.templates import Templates

pytestmark = pytest.mark.usefixtures("quick")

ADOPT = {"policies": {"orphan_owner": "u0@example.com"}}
MERGE = {"policies": {"duplicate_email": "merge"}}
BOTH = {"policies": {**ADOPT["policies"], **MERGE["policies"]}}


def migrate(config: Path, *command: str) -> Any:
    answer = call(*command, "-c", config, "--json")
    assert answer.code == 0, answer.told
    return answer.json


@pytest.mark.parametrize(
    "settings",
    [pytest.param(ADOPT, marks=pytest.mark.long), pytest.param(MERGE, marks=pytest.mark.long), BOTH],
    ids=["adopt", "merge", "both"],
)
def test_mended_settings(
    settings: dict[str, Any], new_database: Callable[[], str], templates: Templates, tmp_path: Path
) -> None:
    """A policy that lets orphans, or later accounts, in: with them comes all that waited for them."""
    url = f"dump:{write_folder(tmp_path / 'dump', make_talks(messages=600))}"
    before = Before(new_database(), tmp_path / "migrate.toml", url, templates)
    assert check(before, new_database(), settings, lambda: None) > 0


def test_mended_documents(new_database: Callable[[], str], templates: Templates, tmp_path: Path) -> None:
    """E-mails and owners put right in the source, in documents that had been rejected."""
    made = make_talks(messages=600)
    url = f"dump:{write_folder(tmp_path / 'dump', made)}"

    def mend() -> None:
        write_folder(tmp_path / "dump", mended(made))

    before = Before(new_database(), tmp_path / "migrate.toml", url, templates)
    assert check(before, new_database(), {}, mend) > 0


def mended(made: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """Later accounts get an e-mail of their own; talks of nobody get an owner."""
    users = [bson.decode(raw) for raw in made["users"]]
    known = {str(user["_id"]) for user in users}
    first: dict[str, Any] = {}
    for user in sorted(users, key=lambda each: each["_id"]):
        if first.setdefault(user["email"], user["_id"]) != user["_id"]:
            user["email"] = f"{user['_id']}@example.com"
    talks = [bson.decode(raw) for raw in made["conversations"]]
    for talk in talks:
        if talk["user"] not in known:
            talk["user"] = str(users[0]["_id"])
    return {
        **made,
        "users": [bson.encode(each) for each in users],
        "conversations": [bson.encode(each) for each in talks],
    }


@dataclass(frozen=True, slots=True)
class Before:
    """A database for a first run of a source, without settings; the run is copied where there are `templates`."""

    database: str
    config: Path
    url: str
    templates: Templates | None = None

    def run(self) -> Any:
        """Returns the report of the run."""
        if self.templates is None:
            return self._run(self.database)
        return self.templates.copy("600 messages, first run", self.database, self._run)

    def _run(self, database: str) -> Any:
        return migrate(write_config(self.config, self.url, database), "run")


def check(before: Before, fresh: str, settings: dict[str, Any], mend: Callable[[], None]) -> int:
    """Returns how many documents a retry has brought in."""
    first, config = before.run(), before.config
    mend()
    write_config(config, before.url, before.database, settings)
    retried = migrate(config, "rejects", "retry")
    assert sum(first["rejects"].values()) - sum(retried["rejects"].values()) == retried["loaded"]
    for counts in retried["collections"].values():
        assert counts["source"] == counts["loaded"] + counts["rejected"] + counts["archived"]
    proof = call("verify", "-c", config, "--level", "roundtrip")
    assert proof.code == 0, proof.out[-3000:]
    ran = migrate(write_config(config.with_name("fresh.toml"), before.url, fresh, settings), "run")
    assert {key: retried[key] for key in ("collections", "tables", "findings", "rejects")} == {
        key: ran[key] for key in ("collections", "tables", "findings", "rejects")
    }
    assert digest_database(before.database) == digest_database(fresh)
    assert call("revert", "--yes", "-c", config).code == 0
    return int(retried["loaded"])


def test_rows_written_since_stay(new_database: Callable[[], str], tmp_path: Path) -> None:
    """What the application wrote below migrated rows is there after a retry, whoever gave way to whom meanwhile."""
    database, url = new_database(), f"dump:{write_folder(tmp_path / 'dump', make_talks(messages=300))}"
    config = write_config(tmp_path / "migrate.toml", url, database)
    migrate(config, "run")
    with psycopg.connect(database) as connection:
        added = connection.execute(
            "INSERT INTO messages (tenant_id, conversation_id, content, role)"
            " SELECT tenant_id, id, 'since', 'user' FROM conversations"
        ).rowcount
        added += connection.execute(
            "INSERT INTO memories (tenant_id, user_id, key, value) SELECT tenant_id, id, 'since', 'v' FROM users"
        ).rowcount
    write_config(config, url, database, BOTH)
    migrate(config, "rejects", "retry")
    query = (
        "SELECT (SELECT count(*) FROM messages WHERE content = 'since')"
        " + (SELECT count(*) FROM memories WHERE key = 'since')"
    )
    with psycopg.connect(database) as connection:
        assert connection.execute(query).fetchone() == (added,)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 16))
def test_many_talks(seed: int, new_database: Callable[[], str], tmp_path: Path) -> None:
    """The same with other documents."""
    made = make_talks(seed, messages=600)
    url = f"dump:{write_folder(tmp_path / 'dump', made)}"
    before = Before(new_database(), tmp_path / "migrate.toml", url)
    check(before, new_database(), (ADOPT, MERGE, BOTH)[seed % 3], lambda: None)
