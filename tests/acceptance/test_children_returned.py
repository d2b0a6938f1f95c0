"""After the switch, changes of rows of embedded documents come back to MongoDB, element by element."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64, encode

from tests import mongo
from tests.reverse_rig import Switched, switched
from tests.shop import HERE, Shop
from tests.shop.application import change_shop

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 30))]
ODD: tuple[Any, ...] = (
    True,
    1.5,
    -0.0,
    7,
    Int64(7),
    Decimal128("7.5"),
    "",
    "7",
    "text",
    [],
    {},
    [1, {"a": [None]}],
    {"a": {}},
    b"x",
)
SETTINGS = {"migration": {"mappings": "shop_mappings", "schema": "shop_schema"}}

pytestmark = pytest.mark.usefixtures("quick")


@contextmanager
def switched_shop(server: mongo.Server, name: str, target: str, folder: Path, shop: Shop) -> Iterator[Switched]:
    """A shop whose application was switched to PostgreSQL. It has no values that the server in tests cannot store."""
    shop.odd = list(ODD)
    for package in ("shop_schema", "shop_mappings"):
        shutil.copytree(HERE / package, folder / package)
    documents = {each: list(map(encode, found)) for each, found in shop.collections().items()}
    with switched(server.url, name, target, folder, documents, SETTINGS) as rig:
        yield rig


@pytest.mark.parametrize("seed", SEEDS)
def test_changed_elements_return(
    seed: int, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Elements are changed, added, moved and deleted, with their documents or alone: MongoDB has what the rows give."""
    chance = random.Random(seed)
    with switched_shop(live_server, f"elements_{seed}", new_database(), tmp_path, Shop(seed, 60)) as rig:
        rig.assert_same("before")
        for number in range(4):
            done = [change_shop(rig, chance, 100 * number + each) for each in range(chance.choice((1, 5, 40)))]
            report = rig.back()
            assert (report["waiting"], report["conflicts"]) == (0, 0), f"seed {seed}: {done}"
            rig.assert_same(f"seed {seed}: {done}")
            assert rig.unreturned() == {}, f"seed {seed}"
