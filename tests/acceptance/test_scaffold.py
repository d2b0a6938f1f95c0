"""`migrate scaffold`: the draft is clean code that loads, nothing is overwritten, and errors have remedies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bson
import psycopg
import pytest

from examples.sources import MAKERS, write_dump
from tests import mongo
from tests.arbitrary import Arbitrary
from tests.archive_writer import write_folder
from tests.driving import call
from tests.press import Press
from tests.round_trip import there_and_back

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture(scope="module", params=["librechat", "demo"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The draft for a fixture."""
    folder = tmp_path_factory.mktemp("scaffold") / "project"
    answer = call("scaffold", folder, "--source", FIXTURES / request.param, "--json")
    assert answer.code == 0, answer.told
    assert answer.json["documents"] == {"librechat": 5163, "demo": 251}[request.param]
    return folder


def run_tool(project: Path, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("width", ["88", "120"])
def test_the_code_is_formatted_and_without_errors(project: Path, width: str) -> None:
    run_tool(project, "ruff", "format", "--isolated", "--line-length", width, "--check", ".")
    run_tool(project, "ruff", "check", "--isolated", "--select", "E4,E7,E9,F,I,UP,B,RUF", ".")


@pytest.mark.long
def test_the_code_has_types(project: Path, tmp_path: Path) -> None:
    (tmp_path / "migrator").symlink_to(FIXTURES.parent / "migrator")  # the checkout has packages of the same names
    run_tool(project, "mypy", "--strict", "mappings", "schema", MYPYPATH=str(tmp_path))


@pytest.mark.usefixtures("restored_modules")
def test_the_packages_load_and_nothing_is_overwritten(project: Path) -> None:
    answer = call("schema", "-c", project / "migrate.toml")
    assert answer.code == 0, answer.told
    assert "CREATE TABLE" in answer.out
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    answer = call("scaffold", project, "--source", FIXTURES / "demo")
    assert answer.code == 2
    assert "already exists" in answer.err
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before


def test_errors_have_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No source, a source that does not exist, one without documents, a folder that cannot be created."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "things.bson").write_bytes(b"")
    (tmp_path / "file").write_text("")
    for arguments, code, hint in [
        (("new",), 2, "--source"),
        (("new", "--source", "nowhere"), 7, "url"),
        (("new", "--source", "empty"), 7, "--database"),
        (("file/new", "--source", FIXTURES / "demo"), 2, "another folder"),
    ]:
        answer = call("scaffold", *arguments)
        assert (answer.code, hint in answer.err) == (code, True), answer.told
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("restored_modules")
@pytest.mark.parametrize(
    "name", ["demo", *(pytest.param(each, marks=pytest.mark.long) for each in ("librechat", *MAKERS))]
)
def test_the_untouched_draft_is_a_migration(
    name: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run, verified, exported and reverted as drafted: no difference, and no document is rejected."""
    dump = FIXTURES / name
    if name in MAKERS:
        write_dump(MAKERS[name](1, 400), dump := tmp_path / "dump")
    url = f"dump:{dump}"
    assert call("scaffold", tmp_path / "project", "--source", url).code == 0
    there_and_back(tmp_path / "project", url, database, monkeypatch)


@pytest.mark.long
@pytest.mark.usefixtures("restored_modules")
@pytest.mark.parametrize("seed", range(10))
def test_drafts_of_arbitrary_documents(
    seed: int, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the documents hold, the draft runs, and every document can be rebuilt."""
    (tmp_path / "dump").mkdir()
    for name, raws in Arbitrary(seed, 500).collections().items():
        (tmp_path / "dump" / f"{name}.bson").write_bytes(b"".join(raws))
    assert call("scaffold", tmp_path / "project", "--source", tmp_path / "dump").code == 0
    monkeypatch.setenv("MIGRATE_TARGET__URL", database)
    monkeypatch.setenv("MIGRATE_ENGINE__WORKERS", "1")
    for arguments in (("run",), ("verify", "--level", "roundtrip")):
        answer = call(*arguments, "-c", tmp_path / "project" / "migrate.toml")
        assert answer.code == 0, answer.told


@pytest.mark.long
def test_a_live_source_gives_the_same_draft(live_server: mongo.Server, tmp_path: Path) -> None:
    """The packages for a server equal those for a dump of it; the password of the URL is not written."""
    database = MAKERS["content"](1, 300)
    write_dump(database, tmp_path / "content")
    raws = {name: [bson.encode(each) for each in documents] for name, documents in database.items()}
    mongo.fill(live_server.url, "content", raws)
    sources = {"dump": (tmp_path / "content",), "live": (live_server.url, "--database", "content")}
    for name, source in sources.items():
        answer = call("scaffold", tmp_path / name, "--source", *source)
        assert answer.code == 0, answer.told
    one, other = (
        {str(path.relative_to(tmp_path / name)): path.read_text() for path in (tmp_path / name).rglob("*.py")}
        for name in sources
    )
    assert one == other
    assert 'database = "content"' in (tmp_path / "live" / "migrate.toml").read_text()


SHOP_TABLES = """
CREATE TYPE order_state AS ENUM ('new', 'paid', 'shipped');
CREATE TABLE category (
    id uuid PRIMARY KEY, name varchar(80) NOT NULL, slug text UNIQUE, parent_id uuid, position int NOT NULL DEFAULT 0
);
CREATE TABLE product (
    product_id char(24) PRIMARY KEY, sku varchar(40) NOT NULL UNIQUE, title text NOT NULL, price numeric(12, 2),
    category_id uuid CONSTRAINT in_category REFERENCES category ON DELETE CASCADE, stock integer, images text[],
    weight double precision, attributes jsonb, created timestamptz NOT NULL DEFAULT now(),
    serial bigint GENERATED ALWAYS AS IDENTITY
);
CREATE TABLE customer (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), mail text NOT NULL UNIQUE, name_first text, name_last text,
    loyalty_points bigint NOT NULL DEFAULT 0, phone varchar(20), vip boolean NOT NULL DEFAULT false
);
CREATE TABLE orders (
    id uuid PRIMARY KEY, order_number integer NOT NULL, buyer uuid NOT NULL REFERENCES customer, total numeric,
    status order_state NOT NULL DEFAULT 'new', coupon text, placed_at timestamp, CHECK (total > -1)
);
CREATE INDEX ON orders (placed_at);
CREATE TABLE unrelated (id serial PRIMARY KEY, what text);
"""


def check_draft(project: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of a draft is formatted; it runs, and its round trip has no difference."""
    run_tool(project, "ruff", "format", "--isolated", "--check", ".")
    run_tool(project, "ruff", "check", "--isolated", "--select", "E4,E7,E9,F,I,UP,B,RUF", ".")
    monkeypatch.setenv("MIGRATE_TARGET__URL", database)
    monkeypatch.setenv("MIGRATE_ENGINE__WORKERS", "1")
    for arguments in (("run",), ("verify", "--level", "roundtrip")):
        answer = call(*arguments, "-c", project / "migrate.toml")
        assert answer.code == 0, answer.told


@pytest.mark.long
@pytest.mark.usefixtures("restored_modules")
def test_the_untouched_draft_fills_tables_that_exist(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, types and keys are the target's: run, verified, reverted, and the code is formatted."""
    write_dump(MAKERS["shop"](1, 400), tmp_path / "dump")
    with psycopg.connect(database) as connection:
        connection.execute(SHOP_TABLES)
    project = tmp_path / "project"
    answer = call("scaffold", project, "--source", tmp_path / "dump", "--target", database, "--json")
    assert answer.code == 0, answer.told
    names = {each["collection"]: each["table"] for each in answer.json["tables"]}
    assert names == {"categories": "category", "customers": "customer", "orders": "orders", "products": "product"}
    check_draft(project, database, monkeypatch)
    with psycopg.connect(database) as connection:
        query = "SELECT count(*), count(buyer), count(DISTINCT status) FROM orders"
        assert connection.execute(query).fetchone() == (400, 400, 3)
        query = "SELECT count(*), count(category_id), min(length(product_id)) FROM product"
        assert connection.execute(query).fetchone() == (80, 80, 24)
        assert connection.execute("SELECT count(parent_id) FROM category").fetchone() == (9,)
    assert call("revert", "--yes", "-c", project / "migrate.toml").code == 0
    other = call("scaffold", tmp_path / "new", "--source", FIXTURES / "demo", "--target", database)
    assert (other.code, "leave out --target" in other.err) == (2, True)


PRESS_TABLES = """
CREATE TABLE articles (
    tenant text, slug varchar(3000), title text, extra jsonb, PRIMARY KEY (tenant, slug)
);
CREATE SCHEMA trade;
CREATE TABLE orders (id uuid PRIMARY KEY, customer text);
CREATE TABLE lines ("order" uuid REFERENCES orders, number integer, text text, PRIMARY KEY ("order", number));
CREATE TABLE readings (
    id uuid, taken_at timestamptz, raw bytea, value double precision, PRIMARY KEY (taken_at, id)
);
CREATE TABLE comments (nobody integer, "text" text, lost integer, PRIMARY KEY (nobody, lost));
"""


@pytest.mark.long
@pytest.mark.usefixtures("restored_modules")
def test_the_untouched_draft_fills_tables_whose_keys_have_several_columns(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields fill the columns of the keys; a table without a field for one of them is named, with the column."""
    documents = Press(1, 200, dirt=0).collections()
    write_folder(
        tmp_path / "dump" / "press", {name: list(map(bson.encode, found)) for name, found in documents.items()}
    )
    with psycopg.connect(database) as connection:
        connection.execute(PRESS_TABLES)
    project = tmp_path / "project"
    answer = call("scaffold", project, "--source", tmp_path / "dump", "--target", database, "--json")
    assert answer.code == 0, answer.told
    names = {each["collection"] for each in answer.json["tables"]}
    assert names == {"articles", "orders", "lines", "readings"}
    review = (project / "REVIEW.md").read_text(encoding="utf-8")
    assert "comments (no field fits the column nobody of the key of the table comments)" in review
    check_draft(project, database, monkeypatch)
    with psycopg.connect(database) as connection:
        counts = "SELECT (SELECT count(*) FROM articles), (SELECT count(*) FROM lines), (SELECT count(*) FROM readings)"
        row = connection.execute(counts).fetchone()
        assert row is not None
        assert min(row) > 100
    assert call("revert", "--yes", "-c", project / "migrate.toml").code == 0
