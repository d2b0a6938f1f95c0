"""`examples/`: the drafts are what `migrate scaffold` writes, untouched; the finished shop is a migration."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from bson import Decimal128, ObjectId

from examples.sources import MAKERS, SEED, SIZE, main, write_dump
from tests.driving import call
from tests.round_trip import there_and_back

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", MAKERS)
def test_the_draft_is_what_scaffold_writes(name: str, tmp_path: Path) -> None:
    """Each file equals the committed one. `test_scaffold.py` runs the same drafts, verifies and reverts them."""
    assert main([name, str(tmp_path / "dump")]) == 0
    answer = call("scaffold", tmp_path, "--source", tmp_path / "dump" / name)
    assert answer.code == 0, answer.told
    shutil.rmtree(tmp_path / "dump")
    assert files_of(tmp_path) == files_of(EXAMPLES / name / "draft")


@pytest.mark.usefixtures("restored_modules")
def test_the_finished_shop_is_a_migration(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No document is rejected, carts are archived, every document is rebuilt exactly, and all is reverted."""
    project = tmp_path / "shop"
    shutil.copytree(EXAMPLES / "shop" / "finished", project)
    assert main(["shop", str(project / "dump")]) == 0
    there_and_back(project, f"dump:{project / 'dump' / 'shop'}", database, monkeypatch, frozenset({"carts"}))


@pytest.mark.long
@pytest.mark.usefixtures("restored_modules")
def test_the_finished_shop_decides_what_its_page_says(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dirt that the source does not have: rejected or rounded as examples/shop/README.md says, and rebuilt exactly."""
    shutil.copytree(EXAMPLES / "shop" / "finished", tmp_path, dirs_exist_ok=True)
    source = MAKERS["shop"](SEED, SIZE)
    payment, order, customer = (source[name][0] for name in ("payments", "orders", "customers"))
    twin = {"_id": ObjectId(), "orderNumber": 7}
    source["payments"] += [
        {**payment, "_id": str(UUID(int=1)), "orderNumber": 5},
        {**payment, "_id": str(UUID(int=2)), "amount": Decimal128("1.005")},
        {**payment, "_id": str(UUID(int=3)), "amount": Decimal128("NaN")},
        {**payment, "_id": str(UUID(int=4)), "method": "gold"},
    ]
    source["customers"] += [{**customer, "_id": ObjectId()}]
    source["orders"] += [{**order, **twin}, {**order, **twin, "_id": ObjectId()}]
    write_dump(source, tmp_path / "dump" / "shop")
    monkeypatch.setenv("MIGRATE_TARGET__URL", database)
    config = ("-c", tmp_path / "migrate.toml")
    for arguments in (("run",), ("verify", "--level", "roundtrip")):
        answer = call(*arguments, *config)
        assert answer.code == 0, answer.told
    with psycopg.connect(database) as connection:
        rejects = connection.execute("SELECT collection, reason FROM migrator.rejects ORDER BY 1, 2").fetchall()
        rounded = connection.execute("SELECT amount FROM payments WHERE id = %s", [UUID(int=2)]).fetchone()
    assert rejects == [
        ("customers", "duplicate_key"),
        ("orders", "duplicate_key"),
        ("payments", "orphan"),
        ("payments", "wrong_type"),
        ("payments", "wrong_type"),
    ]
    assert rounded == (Decimal("1.01"),)


def test_the_script_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shoe", "dump"]) == 2
    assert "shop|content|devices FOLDER" in capsys.readouterr().err


def files_of(folder: Path, without: str = "__pycache__") -> dict[str, str]:
    """The texts of a folder's files by path, without compiled modules and the folder `without`."""
    skipped = {"__pycache__", without}
    paths = [path for path in folder.rglob("*") if path.is_file() and not skipped & set(path.parts)]
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in paths}
