"""A server of MongoDB's wire protocol that replays a dump from memory: read only, below a microsecond per document.

It is a source that costs nothing, so a comparison of two readers compares the readers. Each connection has a thread.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import sys
import time
from pathlib import Path
from typing import Any

import bson

from bench.replay.collection import ReplayCollection
from bench.replay.commands import Commands, Page

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
CHECKSUM = 1
HEADER = struct.Struct("<iiii")
INT, LONG, DOUBLE = struct.Struct("<i"), struct.Struct("<q"), struct.Struct("<d")
OK = b"\x01ok\0" + DOUBLE.pack(1.0) + b"\0"


class ReplayServer(socketserver.ThreadingTCPServer):
    """The server. `commands` answers."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, commands: Commands) -> None:
        self.commands = commands
        super().__init__(("127.0.0.1", port), Connection)


class Connection(socketserver.BaseRequestHandler):
    """One connection of a client."""

    request: socket.socket
    server: ReplayServer

    def handle(self) -> None:
        """Answer requests until the client closes the connection."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (header := self._receive(16)) is not None:
            size, number, _, code = HEADER.unpack(header)
            body = self._receive(size - 16)
            if body is None:
                return
            answer = self.server.commands.answer(parse(code, body))
            if code == OP_QUERY:
                assert isinstance(answer, dict)  # drivers greet with it
                self._send(number, OP_REPLY, [struct.pack("<iqii", 8, 0, 0, 1), encode(answer)])
            elif isinstance(answer, Page):
                self._send(number, OP_MSG, [bytes(5), *encode_page(answer)])
            else:
                self._send(number, OP_MSG, [bytes(5), encode(answer)])

    def _receive(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            part = self.request.recv(size - len(parts))
            if not part:
                return None
            parts += part
        return bytes(parts)

    def _send(self, number: int, code: int, parts: list[bytes | memoryview]) -> None:
        waiting = [HEADER.pack(16 + sum(map(len, parts)), 1, number, code), *parts]
        while waiting:
            sent = self.request.sendmsg(waiting)
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if sent:
                waiting[0] = memoryview(waiting[0])[sent:]


def parse(code: int, body: bytes) -> dict[str, Any]:
    """Return the command of a request. Raises: `ValueError` for a request that is no command."""
    if code == OP_QUERY:
        start = body.index(b"\0", 4) + 9
        asked: dict[str, Any] = bson.decode(body[start : start + INT.unpack_from(body, start)[0]])
        return {**asked, "$db": "admin"}
    if code != OP_MSG:
        raise ValueError(f"an operation {code}")
    end = len(body) - 4 * (body[0] & CHECKSUM)
    asked, at = {}, 4
    while at < end:
        size = INT.unpack_from(body, at + 1)[0]
        if body[at] == 0:
            asked = bson.decode(body[at + 1 : at + 1 + size])
        at += 1 + size
    return asked


def encode(answer: dict[str, Any]) -> bytes:
    return bson.encode({**answer, "ok": answer.get("ok", 1.0)})


def encode_page(page: Page) -> list[bytes | memoryview]:
    """Return an answer with documents, which are not copied."""
    elements = page.elements.cut(page.start, page.end)
    name = page.namespace.encode()
    array_size = 4 + len(elements) + 1
    rest = b"\0\x12id\0" + LONG.pack(page.cursor) + b"\x02ns\0" + INT.pack(len(name) + 1) + name + b"\0\0"
    kind = b"\x04firstBatch\0" if page.is_first else b"\x04nextBatch\0"
    cursor_size = 4 + len(kind) + array_size + len(rest) - 1
    head = b"\x03cursor\0" + INT.pack(cursor_size) + kind + INT.pack(array_size)
    whole = 4 + len(head) + len(elements) + len(rest) + len(OK)
    return [INT.pack(whole) + head, elements, rest + OK]


def load(folder: Path) -> Commands:
    """Read the dump of one database: `folder/DATABASE/COLLECTION.bson`."""
    (database,) = [each for each in folder.iterdir() if each.is_dir()]
    files = sorted(database.glob("*.bson"))
    return Commands(database.name, {each.stem: ReplayCollection(each.stem, each.read_bytes()) for each in files})


def main() -> None:
    """Serve the dump in the folder of the first argument; print the port, and the CPU seconds at the end of input."""
    commands = load(Path(sys.argv[1]))
    with ReplayServer(0, commands) as server:
        print(server.server_address[1], flush=True)
        from threading import Thread

        Thread(target=server.serve_forever, daemon=True).start()
        for line in sys.stdin:
            if line.strip() == "cpu":
                print(time.process_time(), flush=True)


if __name__ == "__main__":
    main()
