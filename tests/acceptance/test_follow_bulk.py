"""Changes that are applied in bulk: which ones are, and what they leave in the records."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest

from migrator.following import deferral
from migrator.following.applier import Applied
from migrator.state import own_transactions
from migrator.state.dirty import DirtyKey
from tests.archive_writer import write_folder
from tests.changing import Changing, applier_of
from tests.driving import call, digest_database
from tests.scenarios import write_config
from tests.talks import _message_id, _oid, make_talks

pytestmark = pytest.mark.usefixtures("quick")

Change = Callable[[Changing], None]


def follow(source: Changing, folder: Path, database: str, change: Change, batch: int = 10_000) -> Applied:
    """Runs a migration, applies changes in batches, and returns what was applied."""
    config = write_config(
        folder / "migrate.toml", f"dump:{write_folder(folder / 'dump', source.documents())}", database
    )
    assert call("run", "-c", config, "--json").code == 0
    change(source)
    changed = list(source.take().items())
    with applier_of(config) as (applier, connection):
        simple = 0
        for start in range(0, len(changed), batch):
            some = dict(changed[start : start + batch])
            keys = [
                DirtyKey(collection=name, source_id=source_id, number=0, document=raw)
                for (name, source_id), raw in some.items()
            ]
            simple += applier.apply(keys, some).simple
        namespace, rows = applier.stage.namespace, applier.stage.rows
        owned = _owned(connection, namespace)
        tables = [mapping.table.name for mapping in rows.mappings.values()]
        before = own_transactions.count(connection, namespace)
        assert own_transactions.forget_unused(connection, namespace, [*tables, "no_such_table"]) <= before
        assert _owned(connection, namespace) == owned  # every row is still known as ours
        deferral.restore(rows)
    return Applied(changes=len(changed), simple=simple)


def _owned(connection: Any, namespace: Any) -> int:
    own = own_transactions.written_by_migration(namespace)
    query = namespace.sql("SELECT count(*) FROM {table} t WHERE {own}", table=namespace.table("messages"), own=own)
    return int(connection.execute(query).fetchone()[0])


def assert_equals_run(source: Changing, folder: Path, followed: str, fresh: str) -> None:
    dump = write_folder(folder / "final", source.documents())
    assert call("run", "-c", write_config(folder / "fresh.toml", f"dump:{dump}", fresh), "--json").code == 0
    assert digest_database(followed) == digest_database(fresh)


def alter(source: Changing, name: str, **fields: Any) -> None:
    """Gives all documents of a collection other fields."""
    for raw in list(source.now[name].values()):
        source.put(name, {**bson.decode(raw), **fields})


def append_messages(source: Changing) -> None:
    """Adds an answer to every message."""
    for number, raw in enumerate(list(source.now["messages"].values())):
        document = bson.decode(raw)
        new = {"_id": _oid(3, 9000 + number), "messageId": _message_id(9000 + number)}
        source.put("messages", {**document, **new, "parentMessageId": document["messageId"], "children": []})


def delete_messages(source: Changing) -> None:
    chance = random.Random(1)
    for key in list(source.now["messages"]):
        if chance.random() < 0.5:
            source.drop("messages", key)


CHANGES: dict[str, Change] = {
    "owners": lambda source: alter(source, "conversations", user=str(_oid(1, 3))),
    "providers": lambda source: alter(source, "conversations", endpoint="anthropic", model="claude-3"),
    "texts": lambda source: alter(source, "messages", text="another"),
    "answers": append_messages,
    "deletions": delete_messages,
}


@pytest.mark.parametrize("kind", CHANGES)
def test_bulk_changes(kind: str, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Most of them are simple, and the result is that of a run."""
    source, followed = Changing(make_talks(5, messages=300), 5), new_database()
    applied = follow(source, tmp_path, followed, CHANGES[kind], batch=100)
    assert applied.changes > 10
    assert applied.simple > 0
    assert_equals_run(source, tmp_path, followed, new_database())
