"""Changes of documents whose elements are rows lead to the database that a run on the final source would make."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from bson import encode

from migrator.following import deferral
from tests.archive_writer import write_folder
from tests.changing import applier_of, apply_changes
from tests.driving import call
from tests.shop import Shop, write_project
from tests.user_projects import change_documents, everything

NAMES = ("tags", "products", "orders", "orders", "orders")
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 60))]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("seed", SEEDS)
def test_changes_equal_a_run(seed: int, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Orders with other items, deleted products and tags that items refer to, and documents that come back."""
    followed, fresh = new_database(), new_database()
    shop = Shop(seed, 100)
    documents = shop.collections()
    settings = write_project(tmp_path / "followed", followed, documents)
    assert call("run", "-c", settings).code == 0
    with applier_of(settings) as (applier, _):
        for _ in range(2):
            apply_changes(applier, change_documents(shop.chance, shop.make, documents, 40, NAMES), random.Random(seed))
        deferral.restore(applier.stage.rows)
    again = write_project(tmp_path / "fresh", fresh, documents)
    assert call("run", "-c", again).code == 0
    assert everything(followed) == everything(fresh), f"seed {seed}"
    write_folder(
        settings.parent / "dump" / "shop", {name: list(map(encode, found)) for name, found in documents.items()}
    )
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert [each for each in verified.json["checks"] if not each["ok"]] == []
