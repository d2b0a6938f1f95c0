"""Constraints of the owner while changes are applied: a refused document becomes a reject, as in a run.

It is tried again with every change that may make the target accept it.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from migrator.following import deferral
from tests.acceptance.test_owner_objects import count_rejects
from tests.acceptance.test_refused_changes import RAISING, ROOT_BY_USER, set_up
from tests.archive_writer import write_folder
from tests.changing import Changing, applier_of, apply_changes
from tests.driving import call, digest_database
from tests.scenarios import write_config
from tests.talks import make_talks
from tests.target_server import Server

pytestmark = pytest.mark.usefixtures("quick")

LATEST = "ALTER TABLE conversations ADD CONSTRAINT in_order CHECK (last_message_at >= created_at - interval '120 s');"
TEXTS = "ALTER TABLE messages ADD CONSTRAINT texts CHECK (content !~ '[37]3$');"
MAILS = "CREATE UNIQUE INDEX one_mail ON users (replace(email, '1', '2'));"
# Each row is refused, or not, whatever the other rows are: the result equals that of a run on the final source.
SINGLE: dict[str, str] = {
    "a text": TEXTS,
    "an expression of an index": "CREATE INDEX lengths ON messages ((1 / (length(content) - 7)));",
    "a function that raises": RAISING.format("name", "text", "v ~ '[37]$'")
    + "ALTER TABLE users ADD CHECK (public.check_name(name));",
    "the owner of a conversation": "ALTER TABLE conversations ADD CHECK (user_id::text !~ '[0-7]$');",
    "a latest value": LATEST,
    "a parent": ROOT_BY_USER.replace("role = 'user'", "content ~ '[0-8]$'"),
    "several": TEXTS + LATEST + ROOT_BY_USER.replace("role = 'user'", "content ~ '[0-8]$'"),
}
# Rows exclude each other: which one stays depends on the order of their changes.
EXCLUSIVE: dict[str, str] = {
    "addresses": MAILS,
    "a latest value": "CREATE UNIQUE INDEX one_time ON conversations (last_message_at);",
    "a deferred latest value": "ALTER TABLE conversations ADD CONSTRAINT one_time UNIQUE (last_message_at)"
    " DEFERRABLE INITIALLY DEFERRED;",
    "one child for each message": "ALTER TABLE messages ADD CONSTRAINT one_child UNIQUE (parent_id);",
    "one child for each message, deferred": "ALTER TABLE messages ADD CONSTRAINT one_child UNIQUE (parent_id)"
    " DEFERRABLE INITIALLY DEFERRED;",
    "an exclusion": "ALTER TABLE conversations"
    " ADD EXCLUDE (date_trunc('hour', last_message_at) WITH =, user_id WITH =);",
    "several": MAILS + LATEST + "CREATE UNIQUE INDEX one_root ON messages (conversation_id) WHERE parent_id IS NULL;",
}
MESSAGES, CHANGES = 300, 40
QUICK = frozenset({"several"})


def cases(table: dict[str, str], seeds: range) -> list[object]:
    """The first seed of the quick cases daily, all of them in the long tests."""
    return [
        pytest.param(name, seed, marks=[] if name in QUICK and seed == seeds[0] else [pytest.mark.long])
        for name in table
        for seed in seeds
    ]


class Followed:
    """A database with constraints, a run into it on random documents, and random changes that are applied to it."""

    def __init__(self, folder: Path, database: str, seed: int) -> None:
        self._folder, self._chance = folder, random.Random(seed)
        self._source = Changing(make_talks(seed, messages=MESSAGES), seed)
        self.url = f"dump:{write_folder(folder / 'dump', self._source.documents())}"
        self.config = write_config(folder / "migrate.toml", self.url, database)
        migrate(self.config)

    def change(self, changes: int) -> None:
        for _ in range(changes):
            self._source.change()
        with applier_of(self.config) as (applier, _):
            apply_changes(applier, self._source.take(), self._chance)
            deferral.restore(applier.stage.rows)
        write_folder(self._folder / "dump", self._source.documents())


def migrate(config: Path) -> None:
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told


@pytest.mark.parametrize(("name", "seed"), cases(SINGLE, range(7, 11)))
def test_rows_that_the_target_refuses(name: str, seed: int, server: Server, template: str, tmp_path: Path) -> None:
    """The result equals that of a run on the final source into a target with the same constraints."""
    first, second = (set_up(server, template, SINGLE[name]) for _ in range(2))
    followed = Followed(tmp_path, first, seed)
    followed.change(CHANGES)
    migrate(write_config(tmp_path / "fresh.toml", followed.url, second))
    assert any("target_constraint" in counts for counts in count_rejects(second).values()), "nothing is refused"
    assert count_rejects(first) == count_rejects(second)
    assert digest_database(first) == digest_database(second)


@pytest.mark.parametrize(("name", "seed"), cases(EXCLUSIVE, range(8, 12)))
def test_rows_that_exclude_each_other(name: str, seed: int, server: Server, template: str, tmp_path: Path) -> None:
    """Every document is in the ledger and can be rebuilt."""
    url = set_up(server, template, EXCLUSIVE[name])
    followed = Followed(tmp_path, url, seed)
    loaded = count_rejects(url)
    followed.change(CHANGES)
    seen = [*loaded.values(), *count_rejects(url).values()]
    assert any("target_constraint" in counts for counts in seen), "nothing is refused"
    verified = call("verify", "-c", followed.config, "--level", "roundtrip")
    assert verified.code == 0, verified.told
