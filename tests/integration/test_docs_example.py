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
PACKAGES = ("shop_schema", "shop_mappings")


@pytest.fixture
def project(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's project folder, with a dump: two customers, and two orders, of which one has no customer."""
    text = PAGE.read_text(encoding="utf-8")
    for package, code in zip(PACKAGES, re.findall(r"```python\n(.*?)```", text, re.DOTALL), strict=True):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(code, encoding="utf-8")
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
    """Three documents are loaded, the order without a customer is rejected, and all four are rebuilt exactly."""
    run = call("run", "-c", project, "--json")
    assert (run.code, run.json["tables"]) == (0, {"customers": 2, "orders": 1})
    assert call("verify", "-c", project, "--level", "roundtrip").code == 0
    rejected = call("rejects", "list", "-c", project, "--json")
    assert "orphan" in rejected.out
