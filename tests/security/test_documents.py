"""Documents that nobody means well: every command ends in words, whatever a dump holds."""

from __future__ import annotations

import json
from pathlib import Path

import bson
from bson import ObjectId

from tests.archive_writer import write_folder
from tests.driving import call
from tests.scenarios import write_config
from tests.unit.test_raw_bson import nest

DEEP = nest(5000, b"\x03")


def with_field(document: bytes, name: bytes, value: bytes) -> bytes:
    """A document with a sub-document more, which no driver would encode."""
    body = document[4:-1] + b"\x03" + name + b"\0" + value + b"\0"
    return (len(body) + 4).to_bytes(4, "little") + body


def test_what_cannot_be_decoded_is_shown_by_its_bytes(database: str, tmp_path: Path) -> None:
    """`rejects show`, `list` and `export`, `plan` and `report` manage documents and ids that nobody can decode."""
    user = bson.encode({"email": "a@example.org", "name": "A"})
    users = [with_field(user, b"_id", DEEP), with_field(bson.encode({"_id": ObjectId(), "name": "B"}), b"x", DEEP)]
    source = write_folder(tmp_path / "dump", {"users": users, "odd": [with_field(b"\5\0\0\0\0", b"_id", DEEP)]})
    config = write_config(tmp_path / "migrate.toml", f"dump:{source}", database)
    assert call("plan", "-c", config).code == 0
    assert call("run", "-c", config).code == 0
    listed = call("rejects", "list", "-c", config, "--json").json["rejects"]
    assert {each["reason"] for each in listed} == {"undecodable"}
    for each in listed:
        shown = call("rejects", "show", each["id"], "-c", config)
        assert shown.code == 0, shown.told
        assert json.loads(shown.out)["document"].keys() == {"$binary"}
    assert max(map(len, call("rejects", "list", "-c", config).out.splitlines())) < 300
    assert call("rejects", "export", tmp_path / "rejects.jsonl", "-c", config).code == 0
    assert call("report", "-c", config, "--html", tmp_path / "run.html").code == 0
    assert call("verify", "--level", "roundtrip", "-c", config).code == 0
    assert call("export", tmp_path / "out", "-c", config).code == 0
    for name in ("users", "odd"):
        written = (tmp_path / "out" / "dump" / f"{name}.bson").read_bytes()
        assert written.count(DEEP) == len(written) // len(DEEP)
