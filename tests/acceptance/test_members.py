"""The message list of a conversation in its residue when messages are loaded later (`rejects retry`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bson
import psycopg
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from tests.archive_writer import write_folder
from tests.driving import call, digest_database
from tests.scenarios import write_config

pytestmark = pytest.mark.usefixtures("quick")

DATES = {"createdAt": DatetimeMS(1_704_067_200_000), "updatedAt": DatetimeMS(1_704_067_200_000)}
OWNER = ObjectId("65a000000000000000000001")
LISTS = ((1, 2), (1,), (2, 3), (1, 2, 3), (), None)  # what each conversation lists of its three messages


def oid(talk: int, number: int) -> ObjectId:
    return ObjectId(f"65a00000000000000000{talk:02x}{number:02x}")


def make_dump(folder: Path, *, mended: bool) -> Path:
    """Conversations with three messages each; until it is fixed, the second one has no ID."""
    talks, said = [], []
    for talk, listed in enumerate(LISTS, start=1):
        claimed = {"conversationId": f"11111111-1111-4111-8111-1111111111{talk:02x}", "user": str(OWNER)}
        lists = {} if listed is None else {"messages": [oid(talk, number) for number in listed]}
        talks.append({"_id": oid(talk, 0), **claimed, **lists, **DATES})
        for number in (1, 2, 3):
            own = {"messageId": f"22222222-2222-4222-8222-22222222{talk:02x}{number:02x}"}
            usual = own if mended or number != 2 else {}
            said.append({"_id": oid(talk, number), **usual, **claimed, "text": "Hello", **DATES})
    made = {"users": [{"_id": OWNER, "email": "owner@example.com", **DATES}], "conversations": talks, "messages": said}
    return write_folder(folder, {name: [bson.encode(each) for each in some] for name, some in made.items()})


def kept_lists(database: str) -> list[Any]:
    """Return what the residue of each conversation contains: the list, a number, "none", or nothing."""
    query = "SELECT residue FROM migrator.ledger WHERE collection = 'conversations' ORDER BY source_id"
    with psycopg.connect(database) as connection:
        residues = [bson.decode(row[0]) for row in connection.execute(query)]
    return [
        "none"
        if "messages" in each.get("unset", ())
        else each.get("first", {}).get("messages", each.get("set", {}).get("messages"))
        for each in residues
    ]


def test_messages_that_come_later(database: str, tmp_path: Path) -> None:
    """The residue of a list depends on the loaded messages; the documents do not change."""
    folder = tmp_path / "dump"
    config = write_config(tmp_path / "migrate.toml", f"dump:{make_dump(folder, mended=False)}", database)
    assert call("run", "-c", config).code == 0
    whole = [[oid(1, 1), oid(1, 2)], 1, [oid(3, 2), oid(3, 3)], [oid(4, 1), oid(4, 2), oid(4, 3)], [], "none"]
    assert kept_lists(database) == whole
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0

    make_dump(folder, mended=True)
    answer = call("rejects", "retry", "-c", config, "--json")
    assert (answer.code, answer.json["loaded"]) == (0, len(LISTS)), answer.told
    assert kept_lists(database) == [2, 1, [oid(3, 2), oid(3, 3)], None, [], "none"]
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0

    before = digest_database(database)
    assert call("rejects", "retry", "-c", config).code == 0
    assert digest_database(database) == before


def test_messages_that_give_way(database: str, tmp_path: Path) -> None:
    """If a loaded message yields to one with a smaller `_id`, lists are compared with the final messages."""
    folder = tmp_path / "dump"
    make_dump(folder, mended=True)
    said = bson.decode_all((folder / "messages.bson").read_bytes())
    late = {**said[0], "_id": oid(1, 0)}  # has the ID of the first message and a smaller _id
    (folder / "messages.bson").write_bytes(b"".join(map(bson.encode, [*said, late])))
    config = write_config(tmp_path / "migrate.toml", f"dump:{folder}", database)
    assert call("run", "-c", config).code == 0
    listed = [[oid(1, 1), oid(1, 2)], 1, [oid(3, 2), oid(3, 3)], None, [], "none"]
    assert kept_lists(database) == listed
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM migrator.member_lists").fetchone() == (0,)
