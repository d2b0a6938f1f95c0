"""Changes of collections and tables that mappings share lead to what a run on the final source would make."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from migrator.following import deferral
from migrator.mapping.shared_collections import find_shared
from migrator.sources.shared import Shares, name_documents
from tests import mongo
from tests.archive_writer import write_folder
from tests.changing import applier_of, apply_changes
from tests.driving import call
from tests.fleet import NAMES, Fleet, write_project
from tests.user_projects import change_documents, everything

pytestmark = pytest.mark.usefixtures("quick")
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 60))]


@pytest.mark.parametrize("seed", SEEDS)
def test_changes_equal_a_run(seed: int, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Documents that move to another mapping, and people who get or lose the ID or email of others."""
    followed, fresh = new_database(), new_database()
    fleet = Fleet(seed, 90)
    documents = fleet.collections()
    settings = write_project(tmp_path / "followed", followed, documents)
    assert call("run", "-c", settings).code == 0
    with applier_of(settings) as (applier, _):
        shares = Shares(find_shared(applier.stage.rows.mappings.values()))
        for _ in range(2):
            changed = change_documents(fleet.chance, fleet.make, documents, 40, NAMES)
            apply_changes(applier, name_documents(shares, changed), random.Random(seed))
        deferral.restore(applier.stage.rows)
    again = write_project(tmp_path / "fresh", fresh, documents)
    assert call("run", "-c", again).code == 0
    assert everything(followed) == everything(fresh), f"seed {seed}"
    raws = {name: list(map(bson.encode, found)) for name, found in documents.items()}
    write_folder(settings.parent / "dump" / "fleet", raws)
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert [each for each in verified.json["checks"] if not each["ok"]] == []


def test_live_source(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """A live source is loaded, followed while documents move between tables, compared, and a collection dropped."""
    followed, fresh = new_database(), new_database()
    fleet = Fleet(5, 60, dirt=0)
    documents = fleet.collections()
    mongo.fill(live_server.url, "fleet", {name: list(map(bson.encode, found)) for name, found in documents.items()})
    settings = write_project(tmp_path / "followed", followed, source=live_server.url)
    again = write_project(tmp_path / "fresh", fresh, source=live_server.url)
    ran = call("run", "--follow", "--until-caught-up", "-c", settings)
    assert ran.code == 0, ran.told
    with MongoClient[Any](live_server.url) as client:
        changed = change_documents(fleet.chance, fleet.make, documents, 60, NAMES)
        for (name, source_id), raw in changed.items():
            chosen = bson.decode(source_id)
            if raw is None:
                client["fleet"][name].delete_one(chosen)
            else:
                client["fleet"][name].replace_one(chosen, RawBSONDocument(raw), upsert=True)
        # an update, whose document is looked up: cars become trucks
        client["fleet"]["vehicles"].update_many({"kind": "car"}, {"$set": {"kind": "truck"}})
        follow(settings)
        compare(settings)
        client["fleet"].drop_collection("events")
        follow(settings, "--accept-drop")
        compare(settings)
        assert call("run", "-c", again).code == 0
    assert everything(followed) == everything(fresh)
    refused = call("cutover", "--dry-run", "-c", settings)
    assert refused.code == 5
    reason = "tables that several collections fill cannot be returned to MongoDB yet: people"
    assert reason in refused.told
    checks = [each for each in call("check", "-c", settings, "--json").json["checks"] if each["check"] == "cutover"]
    assert reason in checks[0]["text"]  # `check`, `plan` and `run` say it before anything is loaded
    assert {each["level"] for each in checks} == {"warning"}


def follow(settings: Path, *options: str) -> None:
    """Apply all changes of the source."""
    answer = call("follow", "--until-caught-up", *options, "-c", settings)
    assert answer.code == 0, answer.told


def compare(settings: Path) -> None:
    """Compare the target with the source while it is followed."""
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert [each for each in verified.json["checks"] if not each["ok"]] == []
    assert verified.code == 0, verified.told
