"""Embedded documents that become rows of their own: loaded, compared, rebuilt, reverted with their document."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from migrator.mapping.shared_tables import order_shared
from migrator.reconciliation.restart import undo_load
from migrator.rows.store import RowStore
from migrator.state.records import Namespace
from tests.conftest import fresh_database
from tests.driving import call
from tests.shop import HERE, Shop, write_project
from tests.user_projects import import_mappings, load_and_load_again, rows_of

SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_elements_become_rows(seed: int, database: str, tmp_path: Path) -> None:
    """Orders with items, discounts, payments and tags are loaded, rebuilt exactly, reverted, loaded again equally."""
    settings = write_project(tmp_path, database, Shop(seed, 150).collections())
    load_and_load_again(settings, database)
    with psycopg.connect(database, autocommit=True) as connection:
        for table, least in {"order_items": 100, "discounts": 40, "payments": 40, "order_tags": 60}.items():
            found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            assert found is not None
            assert found[0] >= least, table


def test_rows_of_elements_are_counted_in_tables_that_exist(database: str, tmp_path: Path) -> None:
    """In tables of the owner, those that belong to loaded documents are counted by the ledger."""
    settings = write_project(tmp_path, database, Shop(1, 40).collections())
    ddl = call("schema", "-c", settings).out
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(ddl.encode())
    planned, ran = (rows_of(call(command, "-c", settings, "--json")) for command in ("plan", "run"))
    assert planned == ran
    with psycopg.connect(database) as connection:
        for table in ("order_items", "discounts", "payments", "order_tags"):
            found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            assert found == (ran[table],), table


def test_elements_of_replaced_documents_are_deleted(database: str, tmp_path: Path) -> None:
    """An order is there twice, so that rows of elements are found before all is loaded: by keys that exist then."""
    documents = Shop(3, 60, dirt=0).collections()
    orders = documents["orders"]
    documents["orders"] = [*orders, *({**orders[-1 - place], "_id": each["_id"]} for place, each in enumerate(orders))]
    settings = write_project(tmp_path, database, documents)
    load_and_load_again(settings, database)
    with psycopg.connect(database, autocommit=True) as connection:
        query = (
            "SELECT c.name, c.finished < s.finished FROM migrator.schema_changes c, migrator.steps s"
            " WHERE c.kind = 'key' AND s.step = 'reconcile orders'"
        )
        made: dict[str, bool] = dict(connection.execute(query).fetchall())
        assert {made[name] for name in ("orders_pkey", "order_items_pkey", "discounts_pkey", "order_tags_pkey")} == {
            True
        }
        assert made["product_attributes_pkey"] is False


def test_a_load_is_undone_with_its_elements(database: str, tmp_path: Path) -> None:
    """A load that is repeated without refused documents begins with empty tables, those of elements too."""
    settings = write_project(tmp_path, database, Shop(3, 60).collections())
    assert call("run", "-c", settings).code == 0
    with psycopg.connect(database, autocommit=True) as connection:
        mappings = order_shared(import_mappings(HERE, "shop"))
        undo_load(RowStore(connection, Namespace(), mappings), mappings.values(), {})
        for table in {name for each in mappings.values() for name in each.table_names}:
            query = sql.SQL("SELECT count(*) FROM {}").format(Namespace().table(table))
            assert connection.execute(query).fetchone() == (0,), table


def test_tables_and_records_have_statistics(loaded: tuple[str, Path]) -> None:
    """The application's first queries, and those of `verify`, are planned with the statistics of what was loaded."""
    with psycopg.connect(loaded[0], autocommit=True) as connection:
        found = connection.execute("SELECT tablename FROM pg_stats WHERE schemaname <> 'pg_catalog'").fetchall()
    expected = {"orders", "products", "tags", "order_items", "discounts", "payments", "order_tags", "ledger"}
    assert expected <= {name for (name,) in found}


@pytest.fixture(scope="module")
def loaded(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A finished migration of the shop: its target and its settings."""
    with fresh_database(server_url) as url:
        settings = write_project(tmp_path_factory.mktemp("shop"), url, Shop(1, 60).collections())
        assert call("run", "-c", settings).code == 0
        yield url, settings


# change → table in which it must be found
FAULTS = {
    "UPDATE order_items SET quantity = 77 WHERE ctid = (SELECT min(ctid) FROM order_items)": "order_items",
    "UPDATE order_items SET price = -price WHERE ctid = (SELECT min(ctid) FROM order_items WHERE price = 0)":
        "order_items",
    "UPDATE discounts SET code = NULL WHERE ctid = (SELECT min(ctid) FROM discounts WHERE code IS NOT NULL)":
        "discounts",
    "DELETE FROM order_tags WHERE ctid = (SELECT max(ctid) FROM order_tags)": "order_tags",
    "DELETE FROM payments WHERE ctid = (SELECT max(ctid) FROM payments)": "payments",
    "INSERT INTO order_tags SELECT order_id, 99, tag_id FROM order_tags LIMIT 1": "order_tags",
    "INSERT INTO discounts SELECT item_id, 99, 'more', 1 FROM discounts LIMIT 1": "discounts",
    "UPDATE product_attributes SET name = name || '!' WHERE ctid = (SELECT min(ctid) FROM product_attributes)":
        "product_attributes",
    "UPDATE order_items SET position = position + 50 WHERE ctid = (SELECT min(ctid) FROM order_items)": "order_items",
}  # fmt: skip


def test_all_changed_elements_are_found(loaded: tuple[str, Path]) -> None:
    """Changed, missing and added rows of elements are found in all their tables by one comparison of rows."""
    url, settings = loaded
    with psycopg.connect(url) as connection:
        for change in FAULTS:
            connection.execute(change)
    try:
        verified = call("verify", "-c", settings, "--json")
        wrong = {each["table"] for each in verified.json["checks"] if not each["ok"] and each["check"] == "rows"}
        assert (verified.code, wrong) == (4, set(FAULTS.values()))
    finally:
        assert call("revert", "-c", settings, "--yes", "--force").code == 0
        assert call("run", "-c", settings).code == 0


@pytest.mark.long
@pytest.mark.parametrize("change", FAULTS, ids=range(len(FAULTS)))
def test_changed_elements_are_found(change: LiteralString, loaded: tuple[str, Path]) -> None:
    """A changed, missing or added row of an element is found in its table by a comparison of rows."""
    url, settings = loaded
    with psycopg.connect(url) as connection:
        changed = connection.execute(change)
        assert changed.rowcount == 1
        connection.commit()
    try:
        verified = call("verify", "-c", settings, "--json")
        wrong = [each for each in verified.json["checks"] if not each["ok"] and each["check"] == "rows"]
        assert (verified.code, [each["table"] for each in wrong]) == (4, [FAULTS[change]])
        assert wrong[0]["found"]
    finally:
        assert call("revert", "-c", settings, "--yes", "--force").code == 0
        assert call("run", "-c", settings).code == 0


def test_retry_loads_elements(new_database: Callable[[], str], tmp_path: Path) -> None:
    """Items whose product was rejected become rows by `rejects retry`, as a new run would load them."""
    target, fresh = new_database(), new_database()
    collections = Shop(3, 80).collections()
    products = [{**each, "sku": f"sku {number}"} for number, each in enumerate(collections["products"])]
    holder = min(products[1::2], key=lambda each: bytes(each["_id"].binary))
    holder["sku"] = "same"  # of those with this number, the one that is loaded
    spoilt = [{**each, "sku": "same"} if number % 2 else each for number, each in enumerate(products)]
    first = write_project(tmp_path / "first", target, {**collections, "products": spoilt})
    assert call("run", "-c", first).code == 0
    missing = count(target, "order_items")
    write_project(tmp_path / "second", fresh, {**collections, "products": products})
    shutil.copytree(tmp_path / "second" / "dump", tmp_path / "first" / "dump", dirs_exist_ok=True)
    assert call("rejects", "retry", "-c", first).code == 0
    assert call("run", "-c", tmp_path / "second" / "migrate.toml").code == 0
    assert missing < count(target, "order_items") == count(fresh, "order_items")
    assert count(target, "discounts") == count(fresh, "discounts")
    verified = call("verify", "-c", first, "--level", "roundtrip", "--json")
    assert [each for each in verified.json["checks"] if not each["ok"]] == []


def count(url: str, table: LiteralString) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        assert row is not None
        return int(row[0])
