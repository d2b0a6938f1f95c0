"""After the switch, what the application changes in PostgreSQL comes back to MongoDB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from migrator.reversing.capture import captured
from migrator.reversing.rehearsal import change_columns
from migrator.rows.rebuild import read_loaded
from migrator.rows.update import update_row
from tests import mongo
from tests.reverse_rig import FIXTURES, Switched, read_dump, switched

pytestmark = pytest.mark.usefixtures("quick")


def change_every_column(rig: Switched, rows: int) -> dict[tuple[str, str], int]:
    """Changes each column once, in another row of each table as long as there are some."""
    changed: dict[tuple[str, str], int] = {}
    for collection in captured(rig.context.definition.mappings.values()):
        loaded = [row for _, row, _ in read_loaded(rig.rows, collection)]
        for number, row in enumerate(loaded[:rows]):
            choices = list(change_columns(collection, row, loaded))
            name, change = choices[number % len(choices)]
            value = change[name]
            if name in collection.unique:
                value = f"{value}{number}"
            update_row(rig.rows, collection, row[collection.key.column], {name: value})
            changed[collection.name, name] = changed.get((collection.name, name), 0) + 1
    return changed


@pytest.mark.parametrize("fixture", ["demo", pytest.param("librechat", marks=pytest.mark.long)])
def test_every_column(fixture: str, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Each column of each table changes: MongoDB has what PostgreSQL rebuilds."""
    documents = read_dump(FIXTURES / fixture)
    with switched(live_server.url, f"columns_{fixture}", new_database(), tmp_path, documents, {}) as rig:
        rig.assert_same("before")
        changed = change_every_column(rig, 100)
        report = rig.back()
        assert report["waiting"] == 0
        assert report["conflicts"] == 0
        rig.assert_same(changed)
        print(fixture, changed, rig.unreturned())
