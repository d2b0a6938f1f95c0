"""Changes of documents whose elements are rows lead to the database that a run on the final source would make."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import encode

from migrator.documents import raw_bson
from migrator.documents.codec import decode
from migrator.following import deferral
from tests.archive_writer import write_folder
from tests.changing import applier_of, apply_changes
from tests.driving import call, digest_database
from tests.shop import Shop, write_project
from tests.user_projects import Document

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 60))]


Changed = dict[tuple[str, bytes], bytes | None]


def change_documents(shop: Shop, documents: dict[str, list[Document]], changes: int) -> Changed:
    """Change, delete and add documents. Return what changed, None for a document that is gone."""
    chance, changed = shop.chance, Changed()
    makers = {"tags": shop.tag, "products": shop.product, "orders": shop.order}
    for _ in range(changes):
        name = chance.choice(("tags", "products", "orders", "orders", "orders"))
        place = chance.randrange(len(documents[name]))
        source_id = documents[name][place]["_id"]
        if chance.random() < 0.25 and len(documents[name]) > 3:
            del documents[name][place]
            changed[name, raw_bson.source_id(encode({"_id": source_id}))] = None
            continue
        document = makers[name](source_id)
        documents[name][place] = document
        changed[name, raw_bson.source_id(encode({"_id": source_id}))] = encode(document)
    gone = [key for key, raw in changed.items() if raw is None]
    for name, source_id in chance.sample(gone, len(gone) // 3):  # some come back
        document = makers[name](decode(source_id)["_id"])
        documents[name].append(document)
        changed[name, source_id] = encode(document)
    return changed


def everything(url: str) -> dict[str, Any]:
    """Digests, and the ledger with the fields of residues by name: a rebuilt document has them in any order."""
    query = "SELECT collection, source_id, outcome, target_id, residue FROM migrator.ledger ORDER BY 1, 2, 3, 4"
    digests: dict[str, Any] = digest_database(url)
    with psycopg.connect(url) as connection:
        rows = connection.execute(query, binary=True).fetchall()
    digests["migrator.ledger"] = [(*key, residue and by_name(bytes(residue))) for *key, residue in rows]
    return digests


def by_name(residue: bytes) -> str:
    parts = decode(residue)
    return repr({**parts, "set": sorted(parts.get("set", {}).items(), key=lambda pair: pair[0])})


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
            apply_changes(applier, change_documents(shop, documents, 40), random.Random(seed))
        deferral.restore(applier.stage.rows)
    again = write_project(tmp_path / "fresh", fresh, documents)
    assert call("run", "-c", again).code == 0
    assert everything(followed) == everything(fresh), f"seed {seed}"
    write_folder(
        settings.parent / "dump" / "shop", {name: list(map(encode, found)) for name, found in documents.items()}
    )
    verified = call("verify", "-c", settings, "--level", "roundtrip", "--json")
    assert [each for each in verified.json["checks"] if not each["ok"] and each["check"] in ("rows", "roundtrip")] == []
