"""`migrate` in processes that tests may stop or kill, started without paying for the imports each time.

A server process has imported the command line and forks a process for every command: a fresh process of its own, with
its own signals, environment and output, as `bin/migrate` would be. The fork server, from which the command gets its
worker processes, is forked as well. Both save the imports: a CPU-second. Tests of the entry point itself use
`driving.spawn`.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import multiprocessing
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cache
from importlib import import_module
from multiprocessing import util
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

if TYPE_CHECKING:
    from tests.driving import Answer

_REQUEST_BYTES = 1 << 16
# What is imported inside of functions, by the product and by its libraries.
ON_DEMAND = ("mappings", "schema", "httpx2._transports.default", "anyio._backends._asyncio", "typer._coercion")


class Command:
    """A running command. Its output goes to files, so that it never waits for a reader."""

    def __init__(self, pid: int, status: int, out: IO[bytes], err: IO[bytes]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status, self._out, self._err = status, out, err

    def poll(self) -> int | None:
        """Returns the exit code, or None while the command runs."""
        return self._read_status(0)

    def wait(self, timeout: float = 120) -> int:
        """Returns the exit code. Raises `subprocess.TimeoutExpired`."""
        code = self._read_status(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("migrate", timeout)
        return code

    def communicate(self, timeout: float = 120) -> tuple[bytes, bytes]:
        """Waits for the end; returns what the command wrote."""
        self.wait(timeout)
        for file in (self._out, self._err):
            file.seek(0)
        return self._out.read(), self._err.read()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read_status(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(os.read(self._status, 16))
            os.close(self._status)
        return self.returncode


def start(*arguments: object, environment: Mapping[str, str] | None = None) -> Command:
    """Starts a command in a process of its own, with the environment of this process and `environment`."""
    request = {
        "arguments": [str(each) for each in arguments],
        "environment": {**os.environ, **(environment or {})},
        "folder": str(Path.cwd()),
    }
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed with the command
    reader, writer = os.pipe()
    server = _server()
    socket.send_fds(server, [json.dumps(request).encode()], [out.fileno(), err.fileno(), writer])
    os.close(writer)
    return Command(int(server.recv(16)), reader, out, err)


def finish(*arguments: object, environment: Mapping[str, str] | None = None) -> Answer:
    """Runs a command in a process of its own, to its end."""
    from tests.driving import Answer  # here: the server process does not need what it imports

    process = start(*arguments, environment=environment)
    out, err = process.communicate(timeout=280)
    return Answer(code=process.wait(), out=out.decode(), err=err.decode())


@cache
def _server() -> socket.socket:
    """Returns the connection to the server process, which ends when this process ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.processes", str(theirs.fileno())]
    subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
    theirs.close()
    return ours


# --- the server process ---------------------------------------------------------------------------------------------


def serve(connection: socket.socket) -> list[str]:
    """Forks a process for every request; returns its arguments in the child, and never in the server."""
    wakeup, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}  # process → where its exit code is awaited
    while True:
        ready, _, _ = select.select([connection.fileno(), wakeup], [], [])
        if wakeup in ready:
            os.read(wakeup, 4096)
            _report_ended(running)
        if connection.fileno() in ready:
            message, files, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 3)
            if not message:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                for each in (wakeup, alarm, *running.values()):
                    os.close(each)
                connection.close()
                return _become(json.loads(message), files)
            running[pid] = files.pop()
            for each in files:
                os.close(each)
            connection.send(str(pid).encode())


def _report_ended(running: dict[int, int]) -> None:
    for pid in list(running):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            awaited = running.pop(pid)
            with suppress(BrokenPipeError):
                os.write(awaited, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(awaited)


def _become(request: dict[str, object], files: list[int]) -> list[str]:
    """Gives this new process the environment, folder and output of the command."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out, err, awaited = files
    os.close(awaited)
    for source, target in ((out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    environment, arguments = request["environment"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(request["folder"]))
    return arguments


def fork_receivers() -> AbstractContextManager[object]:
    """Forks the receivers of changes in the block, which would be new processes with imports of their own: 0.3 s of CPU
    time for each `follow`. Receivers of `driving.spawn` and of `receiving.process_of` start as those of users."""
    start = multiprocessing.get_context

    def choose(method: str | None = None) -> BaseContext:
        if method != "spawn":
            return start(method)
        context = start("forkserver")
        context.set_forkserver_preload(
            ["migrator.execution.tasks", "migrator.following.receiver_process", "mappings", "schema"]
        )
        return context

    return patch("migrator.following.receiver_process.multiprocessing.get_context", choose)


def prepare_fork_server() -> None:
    """Forks a child that becomes the fork server of multiprocessing when this process starts one.

    It is forked now, while this process has no threads and no connections that it would inherit.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _await_fork_server(theirs)
    theirs.close()
    start, waiting = util.spawnv_passfds, [ours]

    def start_process(path: bytes, arguments: Sequence[Any], files: Sequence[int]) -> int:
        if not waiting or not arguments[-1].startswith("from multiprocessing.forkserver import main"):
            return int(start(path, arguments, files))
        with waiting.pop() as connection:
            socket.send_fds(connection, [json.dumps([arguments[-1], list(files)]).encode()], files)
        return pid

    setattr(util, "spawnv_passfds", start_process)  # noqa: B010 - typeshed gives the parameters other names


def _await_fork_server(connection: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the fork server does: Ctrl-C is the command's
    message, files, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 8)
    connection.close()
    if message:
        program, places = json.loads(message)
        above = [fcntl.fcntl(each, fcntl.F_DUPFD, 512) for each in files]  # away from the places
        for each in files:
            os.close(each)
        for each, place in zip(above, places, strict=True):
            os.dup2(each, place)
            os.close(each)
        exec(program, {})
    os._exit(0)


def import_all() -> None:
    """Imports what commands import on demand, and reads the code that a fingerprint is made of. It would take each of
    them a CPU-second."""
    import migrator

    gc.disable()  # until a command has its modules, as in the main module
    for module in pkgutil.walk_packages(migrator.__path__, "migrator."):
        import_module(module.name)
    for name in ON_DEMAND:
        import_module(name)
    describe_once()
    assert threading.active_count() == 1, "a forked process would lack the other threads"
    gc.collect()
    gc.freeze()  # forked processes do not write to the pages of what is imported


def describe_once() -> None:
    """Describes each module of the engine and of the checkout's packages once for all commands: 0.1 CPU-seconds."""
    from migrator.documents import fingerprint
    from migrator.mapping.loader import load_definition

    fingerprint._describe_module = cache(fingerprint._describe_module)
    _ = load_definition("mappings", "schema").fingerprint


def run_command() -> NoReturn:
    """Runs the command of sys.argv, and ends without destroying each imported module, which takes 0.1 CPU-seconds."""
    from migrator import cli

    code: object = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    import_all()
    given = serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = ["migrate", *given]
    # Worker processes import the main module; `bin/migrate` would be one, this is none.
    sys.modules["__main__"].__spec__ = sys.modules["__main__"].__package__ = None
    del sys.modules["__main__"].__dict__["__file__"]
    prepare_fork_server()
    from tests.cluster_copies import copy_clusters

    with fork_receivers(), copy_clusters():
        run_command()
