"""Changes of documents whose rows have keys of several columns lead to the database that a new run would make."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bson import decode, encode
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from migrator.following import deferral
from tests import mongo
from tests.archive_writer import write_folder
from tests.changing import applier_of, apply_changes
from tests.driving import call
from tests.press import NAMES, Press, write_project
from tests.user_projects import change_documents, everything

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 60))]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("seed", SEEDS)
def test_changes_equal_a_run(seed: int, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Documents with other keys, keys that another document had, rows that others refer to, and that come back."""
    followed, fresh = new_database(), new_database()
    press = Press(seed, 60)
    documents = press.collections()
    settings = write_project(tmp_path / "followed", followed, documents)
    assert call("run", "-c", settings).code == 0
    with applier_of(settings) as (applier, _):
        for _ in range(2):
            apply_changes(
                applier, change_documents(press.chance, press.make, documents, 40, NAMES), random.Random(seed)
            )
        deferral.restore(applier.stage.rows)
    again = write_project(tmp_path / "fresh", fresh, documents)
    assert call("run", "-c", again).code == 0
    assert everything(followed) == everything(fresh), f"seed {seed}"
    write_folder(
        settings.parent / "dump" / "press", {name: list(map(encode, found)) for name, found in documents.items()}
    )
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert [each for each in verified.json["checks"] if not each["ok"]] == []


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_live_source(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """A live source is loaded, followed, and compared; a cutover is refused with the tables, before it by `check`."""
    followed, fresh = new_database(), new_database()
    press = Press(5, 60, dirt=0)  # SecantusDB does not take all odd values
    documents = press.collections()
    mongo.fill(live_server.url, "press", {name: list(map(encode, found)) for name, found in documents.items()})
    settings = write_project(tmp_path / "followed", followed, source=live_server.url)
    again = write_project(tmp_path / "fresh", fresh, source=live_server.url)
    ran = call("run", "--follow", "--until-caught-up", "-c", settings)
    assert ran.code == 0, ran.told
    with MongoClient[Any](live_server.url) as client:
        changed = change_documents(press.chance, press.make, documents, 60, NAMES)
        for (name, source_id), raw in changed.items():
            chosen = decode(source_id)
            if raw is None:
                client["press"][name].delete_one(chosen)
            else:
                client["press"][name].replace_one(chosen, RawBSONDocument(raw), upsert=True)
        client["press"]["articles"].update_many({"tenant": "acme"}, {"$set": {"tenant": "other"}})
        assert call("follow", "--until-caught-up", "-c", settings).code == 0
        verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
        assert [each for each in verified.json["checks"] if not each["ok"]] == []
        assert call("run", "-c", again).code == 0
    assert everything(followed) == everything(fresh)
    refused = call("cutover", "--dry-run", "-c", settings)
    assert (refused.code, "cannot be returned to MongoDB yet" in refused.told) == (5, True)
    checks = [each["text"] for each in call("check", "-c", settings, "--json").json["checks"]]
    reason = "key has several columns cannot be returned to MongoDB yet: articles, readings, trade.lines"
    assert any(reason in text for text in checks)
