"""An application that was switched to PostgreSQL: a MongoDB database, its target, and the return of changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from migrator.documents.codec import Document, decode
from migrator.reversing.returner import equal_fields
from migrator.rows.rebuild import read_bson
from migrator.rows.store import RowStore
from migrator.sources import open_source
from migrator.state import sync
from migrator.state.records import Namespace
from migrator.workflows.migration import MigrationContext
from migrator.workflows.reverse import begin_reverse, end_reverse
from tests.driving import call, open_session
from tests.mongo import fill
from tests.scenarios import write_config

NAMESPACE = Namespace()
FIXTURES = Path(__file__).parents[1] / "fixtures"


def read_dump(folder: Path) -> dict[str, list[bytes]]:
    """Returns the documents of a dump, by collection."""
    from migrator.documents.raw_bson import split_documents

    source = open_source(f"dump:{folder}")
    found: dict[str, list[bytes]] = {each.name: [] for each in source.collections()}
    for batch in source.read(dict.fromkeys(found, ""), documents=1000, size=1 << 20):
        found[batch.collection] += split_documents(batch.data)
    source.close()
    return found


@dataclass
class Switched:
    """`connection`: that of the application to PostgreSQL."""

    url: str
    name: str
    target: str
    config: Path
    connection: psycopg.Connection[Any]
    context: MigrationContext

    @property
    def rows(self) -> RowStore:
        return RowStore(self.connection, NAMESPACE, self.context.definition.mappings)

    def read(self, query: LiteralString, *values: Any) -> tuple[Any, ...]:
        """Executes a statement of the application, and returns the first row."""
        found: tuple[Any, ...] | None = self.connection.execute(query, values).fetchone()
        assert found is not None, query
        return found

    def back(self) -> dict[str, Any]:
        """Returns all changes to MongoDB."""
        return self.follow()

    def forward(self) -> dict[str, Any]:
        """Switches the application back to MongoDB, and applies its changes to the rows again."""
        assert self.context.source.changing is not None
        with self.connection.transaction():
            end_reverse(self.connection, NAMESPACE)
            state = sync.read(self.connection, NAMESPACE)
            assert state is not None
            position = self.context.source.changing.current_position()
            query = "UPDATE migrator.sync SET state = 'stopped', token = %s, last_event = NULL"
            self.connection.execute(query, (position.token,))
        return self.follow()

    def follow(self) -> dict[str, Any]:
        """Applies the changes of one database to the other one."""
        answer = call("follow", "-c", self.config, "--until-caught-up", "--json")
        assert answer.code == 0, answer.told
        found: dict[str, Any] = answer.json
        return found

    def documents(self, name: str) -> dict[bytes, bytes]:
        """Returns the documents in MongoDB."""
        from migrator.documents.raw_bson import source_id

        with MongoClient[RawBSONDocument](self.url, document_class=RawBSONDocument) as client:
            raws = [bytes(each.raw) for each in client[self.name][name].find()]
        return {source_id(raw): raw for raw in raws}

    def rebuilt(self, name: str) -> dict[bytes, bytes]:
        """Returns the documents that PostgreSQL gives for a collection."""
        found = dict(read_bson(self.rows, self.context.definition.mappings[name]))
        query = (
            "SELECT source_id, document FROM migrator.rejects WHERE collection = %(name)s"
            " UNION ALL SELECT source_id, document FROM migrator.archive WHERE collection = %(name)s"
        )
        for source_id, raw in self.connection.execute(query, {"name": name}, binary=True):
            found[bytes(source_id)] = bytes(raw)
        return found

    def assert_same(self, what: object = "") -> None:
        """MongoDB has exactly the documents that PostgreSQL rebuilds."""
        sources: dict[str, dict[bytes, bytes]] = {}
        for name, mapping in self.context.definition.mappings.items():
            if mapping.section is None:
                found, rebuilt = sources.setdefault(mapping.source_name, {}), self.rebuilt(name)
                assert found.keys().isdisjoint(rebuilt), (what, name)
                found |= rebuilt
        for name, here in sources.items():
            there = self.documents(name)
            assert there.keys() == here.keys(), (what, name)
            for source_id, raw in here.items():
                one, other = decode(there[source_id]), decode(raw)
                assert equal_fields(one, other), (what, name, differences(one, other))

    def unreturned(self) -> dict[tuple[str, str], int]:
        """Returns (collection, column) → number of values."""
        query = "SELECT collection, column_name, count(*) FROM migrator.unreturned WHERE NOT rounded GROUP BY 1, 2"
        return {(name, column): count for name, column, count in self.connection.execute(query)}


def differences(one: Document, other: Document) -> dict[str, tuple[Any, Any]]:
    names = [name for name in {**one, **other} if not equal_fields({"": one.get(name)}, {"": other.get(name)})]
    return {name: (one.get(name, "(absent)"), other.get(name, "(absent)")) for name in names}


@contextmanager
def switched(
    url: str, name: str, target: str, folder: Path, documents: dict[str, list[bytes]], settings: dict[str, Any]
) -> Iterator[Switched]:
    """Migrates documents from MongoDB, and switches the application to PostgreSQL."""
    fill(url, name, documents)
    config = write_config(
        folder / "reverse.toml", url, target, {"engine": {"workers": 1}, **settings, "source": {"database": name}}
    )
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told
    session = open_session(config)
    with session.source() as source, psycopg.connect(target, autocommit=True) as connection:
        context = session.migration(source)
        assert source.changing is not None  # a live server
        with connection.transaction():
            sync.begin(connection, NAMESPACE, source.changing.current_position())
            begin_reverse(context, connection)
            sync.set_state(connection, NAMESPACE, sync.SWITCHED)
        yield Switched(url, name, target, config, connection, context)
