"""A MongoDB for tests: MIGRATE_TEST_MONGO_URL, else a container, else SecantusDB in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import PyMongoError

Documents = Mapping[str, list[bytes]]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """SecantusDB in a folder; it can be killed and started again, with other options. `way` is how tests reach it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.options: tuple[str, ...] = ()
        self.way = self.url
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("secantusd-py")), "--port", str(self.port)]
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--storage-path", str(self._folder / "data"), *self.options],
                stdout=log, stderr=log, cwd=self._folder, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        wait_for(self.way)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)

    def pause(self) -> None:
        """Let the process do nothing, so that it answers no request, until `resume`."""
        assert self._process is not None  # started
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None  # started
        self._process.send_signal(signal.SIGCONT)


def wait_for(url: str) -> None:
    with MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=500) as client:
        for _ in range(100):
            try:
                client.admin.command("ping")
            except PyMongoError:
                time.sleep(0.1)
            else:
                return
    raise AssertionError(f"{url} does not answer")


@contextmanager
def server_in(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def mongo(folder: Path) -> Iterator[str]:
    """The URL of a server that may be filled."""
    given = os.environ.get("MIGRATE_TEST_MONGO_URL")
    if given:
        yield given
        return
    with server_in(folder) as server:
        yield server.url


def fill(url: str, database: str, collections: Documents) -> None:
    """Puts raw documents into a database, which is emptied before."""
    with MongoClient[RawBSONDocument](url, document_class=RawBSONDocument) as client:
        client.drop_database(database)
        for name, raws in collections.items():
            client[database].create_collection(name)
            for start in range(0, len(raws), 1000):
                client[database][name].insert_many([RawBSONDocument(raw) for raw in raws[start : start + 1000]])
