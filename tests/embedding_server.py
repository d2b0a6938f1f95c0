"""An embedding service for tests: it speaks OpenAI's protocol, has a latency, and fails like real services.

It runs in its own process (`serving`), so that it shares no interpreter with its client. A vector is derived from the
text, so that a test can tell which text it belongs to. The service counts what it bills: every vector that it has sent
completely.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import base64
import hashlib
import json
import random
import struct
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

FAILURES = (
    "429", "429 ms", "500", "503", "cut", "cut inside", "short", "garbled", "no json", "dimension", "nan", "zero",
    "order",
)  # fmt: skip
_CHANCE = random.Random(5)
_BLOCK = array("f", (_CHANCE.gauss(0, 1) for _ in range(20_000))).tobytes()


def vector_of(text: str, dimensions: int) -> bytes:
    """Return the vector of a text as little-endian floats."""
    digest = hashlib.sha256(text.encode()).digest()
    own = struct.pack("<4f", *(byte / 256 + 0.001 for byte in digest[:4]))
    start = 4 * (int.from_bytes(digest[4:6], "big") % (len(_BLOCK) // 4 - dimensions))
    return (own + _BLOCK[start:])[: 4 * dimensions]


@dataclass(frozen=True, slots=True)
class Habits:
    """The behavior of the service. `rate`: the share of requests that fail; `kinds`: how they fail."""

    latency: float = 0.0
    together: int = 0  # a request waits until this many are open, or counts as "starved" after STARVED seconds
    rate: float = 0.0
    kinds: Sequence[str] = FAILURES
    dimensions: int = 1536
    limit: int = 8191  # tokens of a text; here a token has four characters
    key: str = ""
    batch: int = 2048
    pause: str = "1"  # value of the header Retry-After; "date": a date in one second
    # How services differ ("dialects"):
    index: str = "number"  # or missing, zero, one (numbered from 1), text, null
    vector: str = "base64"  # or floats, whatever is asked for
    forbids: Sequence[str] = ()  # parameters that the service does not know, such as encoding_format
    forbidden: Sequence[str] = ()  # values of encoding_format that it does not know
    body: str = "openai"  # shape of error responses: a key of BODIES
    poison: str = "400"  # response to a request with the word POISON: a status, cut, or a kind of FAILURES
    request_tokens: int = 0  # tokens of a request; 0: any number
    large: int = 413  # status of a request that is too large
    usage: bool = True


# The shapes of error responses. TEXT becomes a text of the request, which must not get into any message.
BODIES = {
    "openai": '{"error": {"message": "this is refused", "type": "some_error", "code": "CODE"}}',
    "detail": '{"detail": "this is refused: TEXT"}',
    "details": '{"detail": [{"type": "value_error", "loc": ["body"], "msg": "this is refused", "input": "TEXT"}, {}]}',
    "error": '{"error": "this is refused", "error_type": "Validation"}',
    "list": '[{"error": {"code": 400, "message": "this is refused", "status": "INVALID_ARGUMENT"}}]',
    "message": '{"object": "error", "message": "this is refused", "code": 40303}',
    "string": '"this is refused"',
    "text": "this is refused",
    "html": "<html><head><title>This is refused</title></head><body><h1>nginx</h1></body></html>",
    "null": "null",
    "nothing": "",
}


STARVED = 10  # seconds


class Service:
    """What one test asks. Requests that it left behind change nothing in the service of the next test."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew = renew
        self.habits = Habits()
        self.paid: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.open = self.most_open = 0
        self.first = self.last = 0.0  # times of the first request and of the last response
        self._waiting, self._full = 0, asyncio.Event()
        self._chance = random.Random(3)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._answer(lines[0].split()[1], headers, body, writer):
                    break
        writer.close()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Handle one request; return whether the connection stays open."""
        if path == "/renew":
            self._renew()
            return await _send(writer, 200, {})
        if path == "/stats":
            return await _send(writer, 200, self._stats())
        if path == "/habits":
            self.habits = Habits(**json.loads(body))
            self._chance.seed(3)
            return await _send(writer, 200, {})
        self.first = self.first or time.monotonic()
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            await self._wait_for_others()
            await asyncio.sleep(self.habits.latency)
            return await self._embed(path, headers, json.loads(body), writer)
        finally:
            self.open -= 1
            self.last = time.monotonic()

    async def _wait_for_others(self) -> None:
        """Holds requests until enough are open: a client that keeps fewer open than it may starves the service."""
        self._waiting += 1
        if self._waiting >= self.habits.together:
            self._waiting = 0
            self._full.set()
            self._full = asyncio.Event()
            return
        try:
            await asyncio.wait_for(self._full.wait(), STARVED)
        except TimeoutError:
            self._waiting -= 1
            self.told["starved"] += 1

    async def _embed(self, path: str, headers: dict[str, str], asked: Any, writer: asyncio.StreamWriter) -> bool:
        habits, texts = self.habits, asked["input"]
        if path != "/v1/embeddings" or asked["model"] == "missing":
            return await self._refuse(writer, 404, "model_not_found")
        if habits.key and headers.get("authorization") != f"bearer {habits.key}":
            return await self._refuse(writer, 401, "invalid_api_key")
        if set(habits.forbids) & set(asked) or asked.get("encoding_format") in habits.forbidden:
            return await self._refuse(writer, 422, "extra_forbidden")
        if any(len(text) > 4 * habits.limit or not text for text in texts):
            return await self._refuse(writer, 400, "context_length_exceeded")
        if len(texts) > habits.batch or 0 < habits.request_tokens < sum(len(text) // 4 for text in texts):
            return await self._refuse(writer, habits.large, "")
        if any("POISON" in text for text in texts):
            self.told["poison"] += 1
            if habits.poison[:3].isdigit():
                return await self._refuse(writer, int(habits.poison), "context_length_exceeded", text="POISON")
            return await self._fail(writer, habits.poison, texts)
        kind = self._chance.choice(habits.kinds) if self._chance.random() < habits.rate else "fine"
        self.told[kind] += 1
        return await self._fail(writer, kind, texts)

    async def _refuse(
        self, writer: asyncio.StreamWriter, status: int, code: str, *, text: str = "", **headers: str
    ) -> bool:
        self.told[str(status)] += 1
        body = BODIES[self.habits.body].replace('"CODE"', json.dumps(code or None)).replace("TEXT", text)
        kind = "application/json" if body[:1] in tuple('{["') else "text/html"
        return await _send_bytes(writer, status, body.encode(), {"content-type": kind, **headers})

    async def _fail(self, writer: asyncio.StreamWriter, kind: str, texts: list[str]) -> bool:
        if kind[:3].isdigit():
            wait = formatdate(time.time() + 1.5, usegmt=True) if self.habits.pause == "date" else self.habits.pause
            pause = {"429": {"retry-after": wait}, "429 ms": {"retry-after-ms": "80"}}.get(kind, {})
            return await self._refuse(writer, int(kind[:3]), "rate_limit_exceeded", **pause)
        if kind == "cut":
            return False
        if kind == "error":
            return await _send(writer, 200, {"error": {"message": "no provider", "code": 502}})
        if kind == "html":
            return await _send_bytes(writer, 200, BODIES["html"].encode(), {"content-type": "text/html"})
        if kind in ("garbled", "no json"):
            return await _send_bytes(writer, 200, b'{"data": [{"ind' if kind == "garbled" else b"<html></html>", {})
        body = json.dumps(self._vectors(kind, texts)).encode()
        if kind == "cut inside":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
            writer.write(body[: len(body) // 2])
            await writer.drain()
            return False
        return await _send_bytes(writer, 200, body, {})

    def _vectors(self, kind: str, texts: list[str]) -> dict[str, Any]:
        """Return the response. An error affects only some of its texts; the others are billed."""
        dimensions = self.habits.dimensions
        raw = [vector_of(text, dimensions) for text in texts]
        order = list(range(len(texts)))
        bad = set(self._chance.sample(order, max(1, len(order) // 4))) if kind != "fine" else set()
        match kind:
            case "other":  # valid vectors, but of another model
                bad, raw = set(), [vector_of(text + "!", dimensions) for text in texts]
            case "empty":
                bad, raw = set(order), []
            case "null":
                pass
            case "short":
                bad = set(order[len(order) // 2 :])
                raw = raw[: len(order) // 2]
            case "dimension":
                raw = [each[:-4] if place in bad else each for place, each in enumerate(raw)]
            case "nan":
                raw = [struct.pack("<f", float("nan")) + each[4:] if n in bad else each for n, each in enumerate(raw)]
            case "zero":
                raw = [bytes(4 * dimensions) if place in bad else each for place, each in enumerate(raw)]
            case "order" if len(order) > 1:
                order[0], order[-1] = order[-1], order[0]
                raw[0], raw[-1] = raw[-1], raw[0]
                bad = {0, len(order) - 1}
            case "order":
                bad = set()
        if kind != "cut inside":
            self.paid.update(_digest(text) for place, text in enumerate(texts) if place not in bad)
        entries = [
            {"object": "embedding", "index": index, "embedding": self._encode(each)}
            for index, each in zip(order, raw, strict=False)
        ]
        for place, entry in enumerate(entries):
            if kind == "null" and place in bad:
                entry["embedding"] = None
            match self.habits.index:
                case "missing":
                    del entry["index"]
                case "zero" | "one" | "null" | "text":
                    entry["index"] = {"zero": 0, "one": place + 1, "null": None, "text": str(place)}[self.habits.index]
        usage = {"usage": {"prompt_tokens": sum(len(t) // 4 for t in texts)}} if self.habits.usage else {}
        return {"object": "list", "data": entries, **usage}

    def _encode(self, vector: bytes) -> Any:
        if self.habits.vector == "floats":
            return list(struct.unpack(f"<{len(vector) // 4}f", vector))
        return base64.b64encode(vector).decode()

    def _stats(self) -> dict[str, Any]:
        names = ("paid", "told", "open", "most_open", "first", "last")
        return {name: getattr(self, name) for name in names}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def _send(writer: asyncio.StreamWriter, status: int, value: Any, **headers: str) -> bool:
    return await _send_bytes(writer, status, json.dumps(value).encode(), headers)


async def _send_bytes(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> bool:
    fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)
    await writer.drain()
    return True


@dataclass(frozen=True, slots=True)
class Running:
    """A running service, as its client sees it."""

    url: str  # the value of `base_url`

    def behave(self, **habits: Any) -> None:
        """Change the behavior: fields of `Habits`."""
        self._ask("/habits", json.dumps(habits).encode())

    def renew(self) -> None:
        """Begin anew, as another service."""
        self._ask("/renew", None)

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("/stats", None)
        return found

    def _ask(self, path: str, body: bytes | None) -> Any:
        address = self.url.removesuffix("/v1") + path
        with urlopen(Request(address, data=body), timeout=30) as answer:
            return json.loads(answer.read())


@contextmanager
def serving() -> Iterator[Running]:
    """Give a service in its own process, without errors. A process serves one test after the other."""
    running = _unused.pop() if _unused else _start()
    running.renew()
    yield running
    _unused.append(running)


_unused: list[Running] = []


def _start() -> Running:
    """Start a process that serves to the end of this one."""
    command = [sys.executable, "-m", "tests.embedding_server"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    atexit.register(process.kill)
    assert process.stdout is not None  # opened with PIPE
    return Running(f"http://127.0.0.1:{int(process.stdout.readline())}/v1")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    services: list[Service] = []

    def renew() -> None:
        services[:] = [Service(renew)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await services[0].serve(reader, writer)

    renew()
    server = await asyncio.start_server(serve, "127.0.0.1", parser.parse_args().port)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
