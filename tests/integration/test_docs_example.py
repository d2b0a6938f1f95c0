"""docs/how-to/own-migration.md: the migration that the page builds works as it is printed there."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId, encode

from tests.archive_writer import write_folder
from tests.driving import call

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-migration.md"
FILES = ("shop_schema/__init__.py", "shop_mappings/__init__.py", "shop_mappings/settings.py")


@pytest.fixture
def project(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's project folder, with a dump: two customers, and two orders, of which one has no customer."""
    text = PAGE.read_text(encoding="utf-8")
    for name, code in zip(FILES, re.findall(r"```python\n(.*?)```", text, re.DOTALL), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code, encoding="utf-8")
    with (tmp_path / "shop_mappings" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("\nfrom shop_mappings.settings import Settings\n")
    for package in ("shop_schema", "shop_mappings", "shop_mappings.settings"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    settings = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0]
    (tmp_path / "migrate.toml").write_text(settings.replace("embedded:.migrate/postgres", database), encoding="utf-8")
    ann, bob = ({"_id": ObjectId(), "email": f"{name}@example.com", "fullName": name} for name in ("ann", "bob"))
    customers: list[dict[str, Any]] = [{**ann, "createdAt": datetime(2025, 1, 1), "__v": 0}, bob]
    orders: list[dict[str, Any]] = [
        {"_id": ObjectId(), "customer": ann["_id"], "total": 1999, "paid": True, "__v": 0},
        {"_id": ObjectId(), "customer": ObjectId(), "total": 5, "paid": False},
    ]
    write_folder(
        tmp_path / "dump" / "shop",
        {"customers": [encode(each) for each in customers], "orders": [encode(each) for each in orders]},
    )
    return tmp_path / "migrate.toml"


def test_the_example_migration_works(project: Path) -> None:
    """Three documents are loaded, the order without a customer is rejected, and all four are rebuilt exactly.

    The settings of the page are those of the project.
    """
    with project.open("a", encoding="utf-8") as file:
        file.write('\n[prices]\nunit = "euros"\n[policies]\nduplicate_sku = "merge"\n')
    wrong = call("check", "-c", project)
    assert wrong.code == 2
    assert "prices.unit: should be 'cents' or 'major'" in wrong.err
    project.write_text(project.read_text(encoding="utf-8").replace("euros", "major"), encoding="utf-8")
    run = call("run", "-c", project, "--json")
    assert (run.code, run.json["tables"]) == (0, {"customers": 2, "orders": 1})
    assert call("verify", "-c", project, "--level", "roundtrip").code == 0
    rejected = call("rejects", "list", "-c", project, "--json")
    assert "orphan" in rejected.out
