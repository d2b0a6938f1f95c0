"""Comparison of a run whose documents have elements that become rows with `pg_restore -j2` of the same database.

Orders with five items each, of 4,000 products, into the tables of the tests' shop. The seconds of CPU time are those of
all processes, the server's included: they depend little on what else the machine does.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import bson
from bson import DatetimeMS, Decimal128, Int64, ObjectId

from bench.cpu import adopt_orphans, measure
from bench.processes import COMMAND, Series, watch
from migrator.targets.bundled import program_path
from migrator.targets.embedded import EmbeddedTarget
from tests.shop import write_project

RUN, RESTORE = "run, orders with five items", "pg_restore -j2 of the same database"
PRODUCTS, ITEMS = 4000, 5


def compare_elements(folder: Path, orders: int, repetitions: int) -> tuple[Series, Series]:
    """Return the seconds of the run and of `pg_restore`, and their seconds of CPU time."""
    adopt_orphans()
    write_orders(folder / "dump" / "shop", orders)
    settings = write_project(folder, f"embedded:{folder}/migrated", None)
    elapsed, cpu = Series(), Series()
    for _ in range(repetitions):
        shutil.rmtree(folder / "migrated", ignore_errors=True)
        with closing(EmbeddedTarget(folder / "migrated")) as target:
            measure(RUN, folder / "migrated", partial(run, settings), elapsed, cpu)
            subprocess.run([program_path("pg_dump"), "-Fc", "-f", folder / "pg.dump", target.dsn], check=True)
        shutil.rmtree(folder / "restored", ignore_errors=True)
        with closing(EmbeddedTarget(folder / "restored")) as target:
            command = [program_path("pg_restore"), "-j2", "--no-owner", "-d", target.dsn, folder / "pg.dump"]
            measure(RESTORE, folder / "restored", partial(restore, command), elapsed, cpu)
    return elapsed, cpu


def element_lines(elapsed: Series, cpu: Series, orders: int) -> list[str]:
    """Return the lines on the run and the restore, with their ratios."""
    return [
        f"{orders:,} orders with {ITEMS} items each from a dump, with all indexes, keys and the ledger",
        "",
        *elapsed.lines(orders),
        "CPU time of all processes",
        *cpu.lines(orders),
        "",
        f"{'run ÷ pg_restore -j2':52}{elapsed.ratio(RUN, RESTORE):9.2f}",
        f"{'the same, CPU time':52}{cpu.ratio(RUN, RESTORE):9.2f}",
    ]


def run(settings: Path) -> tuple[float, float]:
    """Migrate. Return the seconds that the run reports, and the peak memory."""
    with (settings.parent / "answer").open("w+b") as output:
        process = subprocess.Popen([COMMAND, "run", "-q", "--json", "-c", settings], stdout=output)
        peak = watch(process)
        output.seek(0)
        answer: dict[str, Any] = json.load(output)
    return answer["seconds"], peak


def restore(command: list[Any]) -> tuple[float, float]:
    """Restore. Return the seconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began, 0.0


def write_orders(folder: Path, orders: int, seed: int = 1) -> None:
    """Write a dump with products, and orders with items."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    products = [ObjectId((1_700_000_000 + number).to_bytes(4) + chance.randbytes(8)) for number in range(PRODUCTS)]
    with (folder / "products.bson").open("wb") as file:
        for number, each in enumerate(products):
            price = Decimal128(f"{chance.randrange(9999)}.90")
            file.write(bson.encode({"_id": each, "sku": f"sku-{number}", "price": price, "__v": 0}))
    with (folder / "orders.bson").open("wb") as file:
        for number in range(orders):
            moment = 1_710_000_000 + number * 7
            file.write(
                bson.encode({
                    "_id": ObjectId(moment.to_bytes(4) + chance.randbytes(5) + (number % 2**24).to_bytes(3)),
                    "number": Int64(number), "placedAt": DatetimeMS(moment * 1000 + 123),
                    "items": [item(products, chance) for _ in range(ITEMS)],
                    "tags": [],
                })
            )  # fmt: skip


def item(products: list[ObjectId], chance: random.Random) -> dict[str, Any]:
    """Return one item of an order."""
    price = chance.choice((1, 2.5, 9.95, 100))
    return {"product": chance.choice(products), "quantity": chance.randrange(1, 9), "price": price, "discounts": []}
