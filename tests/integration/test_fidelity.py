"""Nothing is lost: arbitrary documents of every mapping through the real pipeline, and out of PostgreSQL again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, Phase, given, settings

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode, encode
from migrator.events import silent
from migrator.mapping.loader import MigrationDefinition, load_definition, load_settings
from migrator.rows.rebuild import read_documents
from migrator.rows.store import RowStore
from migrator.sources import open_source
from migrator.state.ledger import count_outcomes
from migrator.state.records import Connection, Namespace
from migrator.targets import open_target
from migrator.translation.interpreter import source_id_of
from migrator.workflows.migration import MigrationContext
from migrator.workflows.run import run_migration
from tests import strategies
from tests.archive_writer import write_folder
from tests.strategies import AGENT, CONVERSATIONS, COURSES, FILE_OID, FILES, USERS

Collections = dict[str, list[bytes]]


def make_roots() -> dict[str, list[Document]]:
    """What the strategies' ids name, so that most documents have a home."""
    return {
        "users": [{"_id": user, "email": f"user{number}@example.org"} for number, user in enumerate(USERS)],
        "courses": [{"_id": course, "title": "A course"} for course in COURSES],
        "agents": [{"_id": ObjectId(), "id": AGENT, "author": USERS[0], "provider": "openai", "model": "gpt-4o"}],
        "files": [
            {"_id": FILE_OID, "file_id": FILES[0], "user": USERS[0], "filename": "a", "type": "t", "bytes": 1,
            "source": "s3",
             "filepath": "/a", "vectorStoreId": "vs"}
        ],
        "conversations": [
            {"_id": ObjectId(), "conversationId": each, "user": str(USERS[0]), "endpoint": "openAI", "model": "o1"}
            for each in CONVERSATIONS
        ],
    }  # fmt: skip


def gather(name: str, count: int) -> list[Document]:
    """So many documents of a collection, as Hypothesis thinks of them."""
    found: list[Document] = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategies.documents(name))
    def collect(document: Document) -> None:
        found.append(document)

    collect()
    return found


def make_source(count: int) -> Collections:
    """Every collection with its roots and `count` documents; ids of their own for half of what claims an id."""
    roots = make_roots()
    collections: Collections = {}
    for name in strategies.USUAL:
        documents = roots.get(name, []) + [spread(name, each, n) for n, each in enumerate(gather(name, count))]
        collections[name] = list(with_own_ids(documents))
    return collections


def with_own_ids(documents: list[Document]) -> Iterator[bytes]:
    """BSON with every `_id` once, as the server keeps it."""
    seen: set[bytes] = set()
    for document in documents:
        if source_id_of(document) in seen:
            document["_id"] = ObjectId()
        seen.add(source_id_of(document))
        yield encode(document)


CLAIMS = {"users": "email", "files": "file_id", "agents": "id", "conversations": "conversationId",
          "messages": "messageId", "transactions": "stripeSessionId"}  # fmt: skip


def spread(name: str, document: Document, number: int) -> Document:
    """Two of three documents claim what nobody else does; the others, and only they, have an ObjectId for certain."""
    claim = CLAIMS.get(name)
    if claim in document and isinstance(document[claim], str):
        if number % 3:
            document[claim] = f"{document[claim]}-{number}"
        else:
            document["_id"] = ObjectId()
    return document


def migrate(folder: Path, database: str, collections: Collections) -> MigrationDefinition:
    """Writes the dump and runs the migration; the accounts add up or `run_migration` raises."""
    write_folder(folder / "dump" / "LibreChat", collections)
    path = folder / "migrate.toml"
    path.write_text(f'[source]\nurl = "dump:dump"\n[target]\nurl = "{database}"\n[engine]\nbatch_rows = 50\n')
    config = load_settings(path, {})
    definition = load_definition("mappings", "schema")
    with closing(open_source(config.source.url)) as source, closing(open_target(database)) as target:
        run_migration(MigrationContext(config=config, definition=definition, source=source, emit=silent), target)
    return definition


def kept_documents(connection: Connection, definition: MigrationDefinition, name: str) -> Iterator[Document]:
    """Everything that PostgreSQL has of a collection."""
    store = RowStore(connection, Namespace(), definition.mappings)
    for _, _, document in read_documents(store, definition.mappings[name]):
        yield document
    for query in (
        Namespace().sql("SELECT document FROM {rejects} WHERE collection = %s"),
        Namespace().sql("SELECT document FROM {archive} WHERE collection = %s"),
    ):
        for (document,) in connection.execute(query, (name,)):
            yield decode(bytes(document))


def canonical(document: Document) -> bytes:
    """BSON with the top-level fields in one order: theirs alone may change."""
    return encode({name: document[name] for name in sorted(document)})


def check_nothing_lost(folder: Path, database: str, collections: Collections) -> None:
    definition = migrate(folder, database, collections)
    with closing(open_target(database)) as target, closing(target.connect()) as connection:
        counts = count_outcomes(connection, Namespace())
        for name, raws in collections.items():
            assert counts[name].source == len(raws)
            assert counts[name].remainder == 0
            source = Counter(canonical(decode(raw)) for raw in raws)
            kept = Counter(canonical(document) for document in kept_documents(connection, definition, name))
            lost, made_up = list((source - kept).elements()), list((kept - source).elements())
            assert (list(map(decode, lost)), list(map(decode, made_up))) == ([], []), name
            check_ledger(connection, name, raws)


def check_ledger(connection: Connection, name: str, raws: list[bytes]) -> None:
    query = Namespace().sql("SELECT source_id FROM {ledger} WHERE collection = %s")
    found = Counter(bytes(row[0]) for row in connection.execute(query, (name,)))
    assert found == Counter(map(raw_bson.source_id, raws))


def test_nothing_is_lost(tmp_path: Path, database: str) -> None:
    """What goes in comes out of rows and residue, or is kept whole, and every document has its ledger row."""
    check_nothing_lost(tmp_path, database, make_source(60))


@pytest.mark.long
@pytest.mark.parametrize("attempt", range(20))
def test_nothing_is_lost_at_length(attempt: int, tmp_path: Path, new_database: Callable[[], str]) -> None:
    """The same with many more documents."""
    check_nothing_lost(tmp_path, new_database(), make_source(400))
