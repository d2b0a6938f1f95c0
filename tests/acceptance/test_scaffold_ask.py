"""`scaffold --ask`: what the service gets, and what becomes of its answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import bson
import psycopg
import pytest
from bson import ObjectId

from migrator.scaffold.asking import read_pairs
from tests.driving import call

SECRET = "planted-value"


class Service(BaseHTTPRequestHandler):
    """Answers every request with `answer`, and keeps what it was asked."""

    answer: ClassVar[str] = ""
    status: ClassVar[int] = 200
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.rfile.read(int(self.headers["content-length"])).decode())
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": self.answer}}
        body: dict[str, Any] = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [message],
        }
        data = json.dumps(body if self.status == 200 else {"error": {"message": "no"}}).encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    Service.asked, Service.status = [], 200
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def dump(database: str, tmp_path: Path) -> Path:
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE TABLE people (id uuid PRIMARY KEY, label text, stage integer, born timestamptz, remark text)"
        )
    folder = tmp_path / "dump"
    folder.mkdir()
    documents = [
        {
            "_id": ObjectId(),
            "caption": SECRET,
            "level": number,
            "votes": {f"{number:024x}": 1 for number in range(99)},
            "mails": {f"{SECRET}@example.com": 1},
            f"{SECRET} as a name": 1,
        }
        for number in range(30)
    ]
    (folder / "people.bson").write_bytes(b"".join(map(bson.encode, documents)))
    return folder


def test_proposals_are_checked_and_no_value_is_sent(service: str, dump: Path, database: str, tmp_path: Path) -> None:
    """A pair is used if both exist and the types fit; the others are ignored."""
    pairs = [["caption", "label"], ["level", "born"], ["nothing", "remark"], ["level", "gone"], ["caption", "remark"]]
    Service.answer = f"Sure:\n```json\n{json.dumps({'pairs': pairs})}\n```"
    answer = call("scaffold", tmp_path / "p", "--source", dump, "--target", database, "--ask", service, "--json")
    assert answer.code == 0, answer.told
    assert '"caption", "label", TEXT' in (tmp_path / "p" / "mappings" / "people.py").read_text()
    assert "matched by the language model" in (tmp_path / "p" / "REVIEW.md").read_text()
    (question,) = Service.asked
    assert "caption" in question
    assert "remark" in question
    assert SECRET not in question
    assert "0000000000000000" not in question  # keys of objects can be data
    assert not any(
        each in (tmp_path / "p" / "mappings" / "people.py").read_text() for each in ("born", "remark", "gone")
    )


def test_a_service_that_fails_is_named(service: str, dump: Path, database: str, tmp_path: Path) -> None:
    """Nothing is written then. Without --target there is nothing to ask."""
    Service.status = 401
    options = ("--source", dump, "--ask", service)
    answer = call("scaffold", tmp_path / "p", *options, "--target", database)
    assert (answer.code, "OPENAI_API_KEY" in answer.err) == (7, True), answer.told
    assert not (tmp_path / "p").exists()
    assert call("scaffold", tmp_path / "p", *options).code == 2
    assert call("scaffold", tmp_path / "p", "--source", dump, "--target", database, "--ask", "nowhere").code == 2


@pytest.mark.parametrize("text", ["", "no", "{", "[]", '{"pairs": 1}', '{"pairs": [1, ["a"], [1, 2], {}]}', "{" * 9999])
def test_an_answer_in_another_form_proposes_nothing(text: str) -> None:
    assert read_pairs(text) == []
