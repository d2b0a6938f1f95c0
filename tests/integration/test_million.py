"""Nothing is lost of a million arbitrary documents: each is loaded, rejected or archived, and comes back as it was."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from bson.errors import InvalidBSON

from migrator.documents import raw_bson
from migrator.documents.codec import decode, encode, is_faithful
from migrator.mapping.loader import load_definition
from migrator.rows.rebuild import read_bson
from migrator.rows.store import RowStore
from migrator.state.records import Connection, Namespace
from migrator.targets import open_target
from tests.arbitrary import Arbitrary, large_documents
from tests.driving import call, dump_database
from tests.scenarios import write_config

SEED = int(os.environ.get("MIGRATE_TEST_SEED", "0"))


def write_dump(folder: Path, seed: int, count: int, *, large: bool) -> None:
    folder.mkdir(parents=True)
    for name, raws in Arbitrary(seed, count).collections().items():
        with (folder / f"{name}.bson").open("wb") as file:
            file.writelines(raws)
            if large and name == "notes":
                file.writelines(large_documents())


def canonical(raw: bytes) -> bytes:
    """A digest of the document with its top-level fields in one order; of its bytes where only these tell it."""
    try:
        document = decode(raw)
    except InvalidBSON:
        return sha256(raw).digest()
    if not is_faithful(document, raw):
        return sha256(raw).digest()
    return sha256(encode({name: document[name] for name in sorted(document)})).digest()


def kept(connection: Connection, name: str) -> Iterator[bytes]:
    """Everything that PostgreSQL has of a collection, as BSON."""
    mappings = load_definition("mappings", "schema").mappings
    if name in mappings:
        yield from (raw for _, raw in read_bson(RowStore(connection, Namespace(), mappings), mappings[name]))
    for query in (
        Namespace().sql("SELECT document FROM {rejects} WHERE collection = %s"),
        Namespace().sql("SELECT document FROM {archive} WHERE collection = %s"),
    ):
        yield from (bytes(row[0]) for row in connection.execute(query, (name,), binary=True))


def check_round(folder: Path, database: str, seed: int, count: int, *, thorough: bool) -> None:
    """One database through the whole of it. The seed is in every message: MIGRATE_TEST_SEED makes it again."""
    write_dump(folder / "dump" / "chat", seed, count, large=thorough)
    config = write_config(folder / "migrate.toml", f"dump:{folder / 'dump'}", database)
    predicted = call("plan", "-c", config, "--json").json if thorough else None
    before = dump_database(database)
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, (seed, answer.told)
    outcome = answer.json["collections"]
    if predicted is not None:
        for each in predicted["source"]["collections"]:
            found = outcome[each["name"]]
            assert each["predicted"] == {name: found[name] for name in each["predicted"]}, (seed, each["name"])
    with closing(open_target(database)) as target, closing(target.connect()) as connection:
        for path in sorted((folder / "dump" / "chat").glob("*.bson")):
            raws = path.read_bytes()
            source = Counter(map(canonical, raw_bson.split_documents(raws)))
            found = Counter(map(canonical, kept(connection, path.stem)))
            counts = outcome[path.stem]
            assert counts["source"] == source.total() == counts["loaded"] + counts["rejected"] + counts["archived"], (
                seed
            )
            assert (source - found, found - source) == (Counter(), Counter()), (seed, path.stem)
    answer = call("verify", "-c", config, "--level", "roundtrip")
    assert answer.code == 0, (seed, answer.told)
    if thorough:
        assert call("revert", "--yes", "-c", config).code == 0
        assert dump_database(database) == before, seed


def test_some_arbitrary_documents(tmp_path: Path, database: str) -> None:
    """Some thousand documents, spoilt in every way, are accounted for and rebuilt equal."""
    check_round(tmp_path, database, SEED, 3000, thorough=False)


@pytest.mark.long
@pytest.mark.parametrize("number", range(10))
def test_a_million(number: int, tmp_path: Path, new_database: Callable[[], str]) -> None:
    """A hundred thousand at a time, with documents of 16 MB; prediction is outcome; a revert leaves nothing."""
    check_round(tmp_path, new_database(), SEED + number, 100_000, thorough=number < 2)
