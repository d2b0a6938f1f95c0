"""The benchmark's documents: the same each time, in the shape of a current LibreChat, in trees that hold together."""

from __future__ import annotations

from pathlib import Path

import bson
import pytest

from bench.database import split_batches
from bench.documents import NO_PARENT, DocumentGenerator, write_dump
from bench.full_run import RESTORE, run_name
from bench.measure import Measurements, limit_batches
from bench.peers import LOAD, MIGRATE
from bench.processes import Series
from bench.residue_sizes import ResidueSizes
from bench.results import pairs_of
from bench.steps import BASES, STEPS, as_json, as_table
from migrator.documents.codec import CODEC_OPTIONS, Document, is_faithful

MESSAGES = 4000


@pytest.fixture(scope="module")
def talks() -> list[tuple[Document, list[Document]]]:
    return list(DocumentGenerator(3).conversations(MESSAGES))


@pytest.fixture(scope="module")
def messages(talks: list[tuple[Document, list[Document]]]) -> list[Document]:
    return [message for _, said in talks for message in said]


def share(documents: list[Document], field: str) -> float:
    return sum(field in document for document in documents) / len(documents)


def test_dump_is_the_same_each_time(tmp_path: Path) -> None:
    """A seed stands for one database, another seed for another."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dump(tmp_path / name, 300, seed)
    one, two, three = ((tmp_path / name / "messages.bson").read_bytes() for name in "abc")
    assert one == two != three


def test_dump_holds_what_was_asked_for(tmp_path: Path) -> None:
    """As many messages as asked for, their conversations and users; every document decodes and encodes to itself."""
    write_dump(tmp_path, 777)
    files = {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    assert files.keys() == {"users", "conversations", "messages"}
    assert len(bson.decode_all(files["messages"])) == 777
    for data in files.values():
        raws = split_batches(data, 1)
        assert all(is_faithful(bson.decode(raw, CODEC_OPTIONS), raw) for raw in raws)


def test_parents_are_earlier_messages_of_the_talk(talks: list[tuple[Document, list[Document]]]) -> None:
    """Every message is a root or answers one that came before it in its conversation; its author owns both."""
    for conversation, said in talks:
        seen = {NO_PARENT}
        for message in said:
            assert message["parentMessageId"] in seen
            assert message["conversationId"] == conversation["conversationId"]
            assert message["user"] == conversation["user"]
            seen.add(message["messageId"])
        assert conversation["messages"] == [message["_id"] for message in said]


def test_trees_branch(talks: list[tuple[Document, list[Document]]]) -> None:
    """Some questions have two answers."""
    parents = [message["parentMessageId"] for _, said in talks for message in said]
    assert 0.01 < 1 - len(set(parents) - {NO_PARENT}) / (len(parents) - parents.count(NO_PARENT)) < 0.2


def test_ids_are_unique(messages: list[Document]) -> None:
    """No two messages share an id."""
    for field in ("_id", "messageId"):
        assert len({message[field] for message in messages}) == len(messages)


def test_shares_are_those_of_the_docstring(messages: list[Document]) -> None:
    """Fields are as frequent, and messages as large, as the docstring says."""
    answers = [message for message in messages if not message["isCreatedByUser"]]
    assert share(answers, "content") == pytest.approx(0.82, abs=0.04)
    assert share(answers, "attachments") == pytest.approx(0.19, abs=0.04)
    assert share(messages, "tokenCount") == pytest.approx(0.87, abs=0.03)
    assert all((message["text"] == "") == ("content" in message) for message in messages)
    assert sum(len(bson.encode(each)) for each in messages) / len(messages) == pytest.approx(1200, rel=0.1)


def test_batches_are_cut_between_documents(messages: list[Document]) -> None:
    """Batches put together are the whole; so many documents in each, and no more bytes at once than allowed."""
    data = b"".join(map(bson.encode, messages[:25]))
    batches = split_batches(data, 10)
    assert b"".join(batches) == data
    assert [len(bson.decode_all(batch)) for batch in batches] == [10, 10, 5]
    assert limit_batches(batches, len(data)) == batches
    assert limit_batches(batches, 1) == batches[:1]


def test_table_and_json_say_the_ratio() -> None:
    """Both ways of printing give the bar's figure for every base, out of the repetitions' own ratios."""
    figures = Measurements(10, 1200.0, residues={"messages": ResidueSizes(0.5, 0.75, {"content": 12.0})})
    for step in STEPS:
        figures.cpu[step], figures.wall[step] = [10.0, 20.0, 30.0], [11.0, 21.0, 31.0]
    figures.cpu["compiled"] = [5.0, 20.0, 15.0]
    assert as_json(figures)["step_ratios"] == dict.fromkeys(BASES, 0.5)
    table = as_table(figures)
    assert table.count(" 0.50\n") == len(BASES)
    assert "content 12.0" in table


def test_ratios_of_runs_with_the_same_name() -> None:
    """A run from a dump is compared with pg_restore, one from a live server with the other tools."""
    whole, live = Series(), Series()
    for name in (run_name(2), RESTORE):
        whole.add(name, 2.0)
    for name in (MIGRATE, LOAD, "another tool"):
        live.add(name, 1.0)
    assert list(pairs_of("whole", whole)) == [(run_name(2), RESTORE)]
    assert list(pairs_of("live", live)) == [(MIGRATE, "another tool"), (LOAD, "another tool")]
