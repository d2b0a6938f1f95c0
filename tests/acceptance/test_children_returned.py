"""After the switch, changes of rows of embedded documents come back to MongoDB, element by element."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64, encode

from migrator.workflows.pipeline import Pipeline
from migrator.workflows.plan import rehearse_return
from tests import mongo
from tests.reverse_killing import application, kill_follow
from tests.reverse_rig import switched
from tests.shop import HERE, Shop
from tests.shop.application import change_shop
from tests.stations import journey

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 30))]
ODD: tuple[Any, ...] = (True, 1.5, -0.0, 7, Int64(7), Decimal128("7.5"), "", "7", "x", [], {}, [1, {"a": [None]}], b"x")
COLUMNS = {
    "attributes[].name", "attributes[].value", "items[].quantity", "items[].price", "items[].discounts[].code",
    "items[].discounts[].percent", "payment.method", "payment.paid_at",
}  # fmt: skip
SETTINGS = {"migration": {"mappings": "shop_mappings", "schema": "shop_schema"}}

pytestmark = pytest.mark.usefixtures("quick")


def write_packages(folder: Path, shop: Shop) -> dict[str, list[bytes]]:
    """Writes the packages of the shop, and returns its documents, with values that the server in tests can store."""
    for package in ("shop_schema", "shop_mappings"):
        shutil.copytree(HERE / package, folder / package)
    shop.odd = list(ODD)
    return {each: list(map(encode, found)) for each, found in shop.collections().items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_changed_elements_return(
    seed: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Elements are changed, added, moved and deleted, with their documents or alone: MongoDB has what the rows give."""
    chance = random.Random(seed)
    documents = write_packages(tmp_path, Shop(seed, 60))
    with switched(live_server.url, f"elements_{seed}", new_database(), tmp_path, documents, SETTINGS) as rig:
        rig.assert_same("before")
        found = rehearse_return(Pipeline(context=rig.context, connection=rig.connection, dsn=rig.target), 1000)
        assert {name for each in found for name in each.tried if "." in name} == COLUMNS
        assert not any(each.lost for each in found), f"seed {seed}"
        for number in range(4):
            done = [change_shop(rig, chance, 100 * number + each) for each in range(chance.choice((1, 5, 40)))]
            report = rig.back()
            assert (report["waiting"], report["conflicts"]) == (0, 0), f"seed {seed}: {done}"
            rig.assert_same(f"seed {seed}: {done}")
            assert rig.unreturned() == {}, f"seed {seed}"


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))])
def test_there_and_back_and_there_again(
    seed: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Both databases agree at every station; back in MongoDB, the rows of elements are those of a run."""
    chance, documents = random.Random(seed), write_packages(tmp_path, Shop(seed, 40))
    with journey(live_server.url, f"way_{seed}", new_database(), "", tmp_path, documents, SETTINGS) as rig:
        for leg in range(2):
            rig.cut_over()
            done = [change_shop(rig, chance, 100 * leg + each) for each in range(25)]
            assert rig.back()["conflicts"] == 0, f"seed {seed}: {done}"
            rig.assert_same((seed, leg, done))
            if leg == 0:
                rig.cut_over("--back")
                rig.follow()
                rig.assert_same((seed, leg, "followed"))
                rig.verify()


@pytest.mark.parametrize(("seed", "kills"), [pytest.param(n, 4, marks=pytest.mark.long) for n in range(1, 11)])
def test_kills(
    seed: int, kills: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """The process that returns changes of elements is killed while two sessions of the application write."""
    chance, documents = random.Random(seed), write_packages(tmp_path, Shop(seed, 60))
    with switched(live_server.url, f"shop_kills_{seed}", new_database(), tmp_path, documents, SETTINGS) as rig:
        with application(rig, seed, pause=0.01, change=change_shop):
            kill_follow(rig, chance, kills)
        report = rig.back()
        assert (report["conflicts"], report["waiting"]) == (0, 0), seed
        rig.assert_same(seed)
