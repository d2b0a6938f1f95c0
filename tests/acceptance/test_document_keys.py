"""Keys of documents that are made after their load: documents with the same ID end as if the key had been there.

Each migration is compared with one whose target has all keys from the beginning.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from bson import decode

from migrator.stages.document_keys import make_document_keys
from migrator.stages.load import load
from tests.archive_writer import write_archive, write_folder
from tests.driving import Answer, call, digest_database
from tests.scenarios import write_config
from tests.shop import Shop, write_project
from tests.talks import make_talks
from tests.templates import Templates
from tests.user_projects import write_packages, write_user_project

pytestmark = pytest.mark.usefixtures("quick")

SMALL = {"batch_rows": 20, "part_bytes": 20_000}
AGAIN = "messages: documents have IDs of others."
PUBLICATION = "CREATE PUBLICATION everything FOR ALL TABLES"


def migrate(url: str, config: Path) -> tuple[dict[str, str], Answer]:
    answer = call("run", "-c", config)
    assert answer.code == 0, answer.told
    return digest_database(url), answer


def all_keys_first() -> Any:
    return patch("migrator.workflows.migration.find_document_keys", lambda *arguments: frozenset())


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Path]:
    """Writes the migrate.toml of a migration of some hundred messages, of which some have IDs of others."""
    talks = make_talks(messages=500)
    sources = {
        "folder": f"dump:{write_folder(tmp_path / 'dump' / 'LibreChat', talks).parent}",
        "archive": f"dump:{write_archive(tmp_path / 'dump.archive', {'LibreChat': talks})}",
    }

    def write(url: str, source: str = "folder", **engine: int) -> Path:
        return write_config(tmp_path / "migrate.toml", sources[source], url, {"engine": {**SMALL, **engine}})

    return write


@pytest.fixture
def expected(configure: Callable[..., Path], new_database: Callable[[], str], templates: Templates) -> dict[str, str]:
    """The digests of a target that has all keys from the beginning."""
    url = new_database()

    def build(target: str) -> None:
        with all_keys_first():
            migrate(target, configure(target))

    templates.copy("500 messages, all keys first", url, build)
    return digest_database(url)


@pytest.mark.parametrize(
    ("source", "workers", "before"), [("folder", 1, PUBLICATION), ("folder", 2, ""), ("archive", 1, "")]
)
def test_documents_with_the_same_id(
    source: str, workers: int, before: str, database: str, configure: Callable[..., Path], expected: dict[str, str]
) -> None:
    """Partitions and streams, in one process and in two, also where a publication needs a replica identity."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(before.encode())
        found, answer = migrate(database, configure(database, source, workers=workers))
        assert AGAIN in answer.told
        assert found == expected
        query = "SELECT count(*) FROM pg_class WHERE relname IN ('messages', 'memories') AND relreplident <> 'd'"
        assert connection.execute(query).fetchone() == (0,)
        connection.execute("DROP PUBLICATION IF EXISTS everything")


def test_batches_with_different_ids_are_loaded_once(database: str, tmp_path: Path) -> None:
    """Without documents that have IDs of others, nothing is undone."""
    talks = make_talks(messages=300)
    talks["messages"] = [*{decode(raw)["messageId"]: raw for raw in talks["messages"]}.values()]
    write_folder(tmp_path / "dump" / "LibreChat", talks)
    config = write_config(tmp_path / "migrate.toml", f"dump:{tmp_path / 'dump'}", database, {"engine": SMALL})
    _, answer = migrate(database, config)
    assert AGAIN not in answer.told


def test_the_load_of_undone_batches_can_be_interrupted(
    database: str, configure: Callable[..., Path], expected: dict[str, str]
) -> None:
    """The key was made with the undoing, so the next run loads what is missing with it."""
    calls = []

    def stopped(stage: Any, source: Any, names: list[str], *others: Any) -> None:
        calls.append(names)
        if calls.count(names) == 2:
            raise KeyboardInterrupt
        load(stage, source, names, *others)

    with patch("migrator.workflows.pipeline.load", stopped):
        assert call("run", "-c", configure(database, workers=1)).code == 5
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('messages_pkey') IS NOT NULL").fetchone() == (True,)
    assert call("run", "-c", configure(database, workers=1)).code == 0
    assert digest_database(database) == expected


def test_a_run_that_ends_before_the_key_is_made(
    database: str, configure: Callable[..., Path], expected: dict[str, str]
) -> None:
    """The next run makes it, although it has nothing to load."""

    def stopped(stage: Any, metadata: Any, collections: list[Any], late: Any) -> dict[str, int]:
        if any(each.name == "messages" for each in collections):
            raise KeyboardInterrupt
        return make_document_keys(stage, metadata, collections, late)

    with patch("migrator.workflows.pipeline.make_document_keys", stopped):
        assert call("run", "-c", configure(database, workers=1)).code == 5
    found, answer = migrate(database, configure(database, workers=1))
    assert AGAIN in answer.told
    assert found == expected


@pytest.mark.parametrize("seed", [1])
def test_elements_of_undone_documents(seed: int, tmp_path: Path, new_database: Callable[[], str]) -> None:
    """They are deleted with their document: the tables are those of a target that has all keys from the beginning."""
    documents = Shop(seed, 120, dirt=0).collections()
    orders = documents["orders"]
    documents["orders"] = [*orders, *({**orders[-1 - place], "_id": each["_id"]} for place, each in enumerate(orders))]
    digests, told = [], ""
    for keys_first in (True, False):
        url = new_database()
        config = write_project(tmp_path / str(keys_first), url, documents)
        config.write_text(f"{config.read_text()}\n[engine]\nworkers = 1\npart_bytes = 4096\nbatch_rows = 7\n")
        if keys_first:
            with all_keys_first():
                digests.append(migrate(url, config)[0])
        else:
            found, answer = migrate(url, config)
            digests.append(found)
            told = answer.told
    assert "orders: documents have IDs of others." in told
    assert digests[0] == digests[1]


# What another client writes into the table before its key is made, and whether the run can end.
OTHERS = {
    "a row with the ID of a document": ("INSERT INTO messages SELECT * FROM messages ORDER BY id LIMIT 1", True),
    "two rows with one ID": (
        "INSERT INTO messages SELECT m.* FROM (SELECT * FROM messages ORDER BY id LIMIT 1) m, generate_series(1, 2)",
        False,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_rows_of_other_clients(name: str, database: str, configure: Callable[..., Path]) -> None:
    """A row of another client keeps its ID, and the document gets another. Two of them are an error with a remedy."""
    statement, ends = OTHERS[name]

    def written(stage: Any, metadata: Any, collections: list[Any], late: Any) -> dict[str, int]:
        if any(each.name == "messages" for each in collections):
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(statement.encode())
        return make_document_keys(stage, metadata, collections, late)

    with patch("migrator.workflows.pipeline.make_document_keys", written):
        answer = call("run", "-c", configure(database, workers=1))
    if ends:
        assert answer.code == 0, answer.told
        with psycopg.connect(database) as connection:
            query = "SELECT count(*) FROM messages WHERE xmin NOT IN (SELECT xid::xid FROM migrator.own_transactions)"
            assert connection.execute(query).fetchone() == (1,)
    else:
        assert answer.code == 4, answer.told
        assert "rows of table messages have the same id" in answer.told
        assert "Delete its rows, then run the same command again." in answer.told
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DELETE FROM messages WHERE xmin NOT IN (SELECT xmin FROM migrator.batches)")
        assert call("run", "-c", configure(database, workers=1)).code == 0


def test_a_plan_counts_each_field_once(database: str, configure: Callable[..., Path]) -> None:
    """The statistics of fields do not depend on how often a batch was loaded."""

    def planned() -> Iterator[object]:
        answer = call("plan", "-c", configure(database, workers=1), "--json")
        assert answer.code == 0, answer.told
        yield from (each["fields"] for each in answer.json["source"]["collections"] if each["name"] == "messages")

    with all_keys_first():
        first = list(planned())
    assert first
    assert list(planned()) == first


def test_ids_in_one_batch_are_compared_without_the_table(database: str, tmp_path: Path) -> None:
    """While the key is missing, looking into the table would read all of it for each batch."""
    talks = make_talks(messages=200)
    talks["messages"] += talks["messages"][:3]
    write_folder(tmp_path / "dump" / "LibreChat", talks)
    config = write_config(tmp_path / "migrate.toml", f"dump:{tmp_path / 'dump'}", database, {"engine": {"workers": 1}})
    with patch("migrator.rows.admission.find_existing", side_effect=AssertionError):
        answer = call("run", "-c", config)
    assert answer.code == 0, answer.told


SCHEMA = """
import sqlalchemy as sa
metadata = sa.MetaData(naming_convention={"pk": "%(table_name)s_pkey"})
"""
MAPPINGS = """
from {name}_schema import *
from migrator.mapping.codecs import TEXT, Text
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.references import Key
from migrator.mapping.rules import map_field
"""
# Of one level: a key with the name of a column of the journal, one in another schema, one of two columns.
SEVERAL_TABLES = """
one = sa.Table("one", metadata, sa.Column("run", sa.Text, primary_key=True), sa.Column("v", sa.Text))
other = sa.Table("Other t", metadata, sa.Column("K y", sa.Text, primary_key=True), sa.Column("v", sa.Text), schema="s")
two = sa.Table("two", metadata, *(sa.Column(name, sa.Text, primary_key=True) for name in "xy"), sa.Column("v", sa.Text))
"""
SEVERAL = """
V = map_field("v", "v", TEXT)
KEYS = CompositeKey(table=two, parts=(Key(path="k", collection="two", column="x", text=True, most=1000),))
MAPPINGS = (
    Collection(name="one", table=one, key=Key(path="k", collection="one", column="run", text=True), rules=(V,)),
    Collection(name="other", table=other, key=Key(path="k", collection="other", column="K y", text=True), rules=(V,)),
    Collection(name="two", table=two, key=KEYS, rules=(V, map_field("w", "y", TEXT, required=True))),
)
"""
NOTHING = """
CREATE FUNCTION change() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE made record; BEGIN
  FOR made IN SELECT * FROM pg_event_trigger_ddl_commands()
              WHERE object_type = 'table' AND schema_name <> 'migrator' LOOP
    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY NOTHING', made.objid::regclass);
  END LOOP; END $$;
CREATE EVENT TRIGGER change ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION change();
CREATE PUBLICATION everything FOR ALL TABLES
"""


def write(folder: Path, url: str, name: str, texts: tuple[str, str], documents: dict[str, list[Any]]) -> Path:
    packages = write_packages(folder / "packages", name, SCHEMA + texts[0], MAPPINGS.format(name=name) + texts[1])
    config = write_user_project(packages, name, folder / "project", url, documents)
    config.write_text(f"{config.read_text()}\n[engine]\nworkers = 1\npart_bytes = 4096\nbatch_rows = 7\n")
    return config


def with_equal_keys(count: int) -> list[dict[str, Any]]:
    found = [{"_id": number, "k": f"k{number}", "v": "first", "w": "w"} for number in range(count)]
    return [*found, *({**found[number], "_id": count + number, "v": "second"} for number in range(0, count, 9))]


@pytest.mark.parametrize(("name", "before"), [("several", ""), ("unidentified", NOTHING)], ids=["plain", "no identity"])
def test_several_collections_of_one_level(
    name: str, before: str, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    """Each with its key, whatever its columns are called; also where the owner's tables have no replica identity."""
    documents = {each: with_equal_keys(40 + number) for number, each in enumerate(("one", "other", "two"))}
    digests, told = [], ""
    for number, keys in enumerate((all_keys_first(), nullcontext())):
        url = new_database()
        with psycopg.connect(url, autocommit=True) as connection, keys:
            connection.execute(before.encode())
            config = write(tmp_path / str(number), url, f"{name}{number}", (SEVERAL_TABLES, SEVERAL), documents)
            found, answer = migrate(url, config)
            digests.append(found)
            told = answer.told
    assert told.count("documents have IDs of others.") == 3
    assert digests[0] == digests[1]
    verified = call("verify", "-c", config, "--level", "roundtrip")
    assert verified.code == 0, verified.told


def test_a_lock_on_the_table(tmp_path: Path, database: str) -> None:
    """Another session reads the table, so that its batches cannot be undone: the next run goes on."""
    documents = {each: with_equal_keys(40) for each in ("one", "other", "two")}
    config = write(tmp_path, database, "locked", (SEVERAL_TABLES, SEVERAL), documents)

    def locked(stage: Any, metadata: Any, collections: list[Any], late: Any) -> dict[str, int]:
        with psycopg.connect(database) as connection:
            connection.execute("SELECT FROM one")
            return make_document_keys(stage, metadata, collections, late)

    with (
        patch("migrator.workflows.pipeline.make_document_keys", locked),
        patch("migrator.postgres.schema_changes.LOCK_WAIT", "SET LOCAL lock_timeout = '100ms'"),
    ):
        answer = call("run", "-c", config)
    assert answer.code == 5, answer.told
    assert "pg_stat_activity" in answer.told
    migrate(database, config)


LONG_TABLE = """
notes = sa.Table("notes", metadata, sa.Column("id", sa.Text, primary_key=True), sa.Column("v", sa.Text))
"""
LONG = """
MAPPINGS = (
    Collection(name="notes", table=notes, key=Key(path="k", collection="notes", {key}),
               rules=(map_field("v", "v", TEXT),)),
)
"""
KEYS = ["codec=Text()", pytest.param("text=True, most=9000", marks=pytest.mark.long)]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_too_long(key: str, tmp_path: Path, database: str) -> None:
    """Its document is rejected, the others are loaded: such a key exists during the load."""
    keys = [*map(str, range(20)), random.Random(1).randbytes(2000).hex()]
    documents = {"notes": [{"_id": number, "k": each, "v": "x"} for number, each in enumerate(keys)]}
    config = write(tmp_path, database, f"long{len(key)}", (LONG_TABLE, LONG.format(key=key)), documents)
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told
    assert answer.json["collections"]["notes"] == {"source": 21, "loaded": 20, "rejected": 1, "archived": 0}
