"""PostgreSQL 16 with pgvector, from the package pgserver, for tests of older servers."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from migrator.targets.bundled import allow_traversal, choose_account


def program(name: str) -> Path:
    found = find_spec("pgserver")
    assert found is not None, "the package pgserver is missing"
    assert found.submodule_search_locations  # it is a package
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin" / name


@contextmanager
def running() -> Iterator[str]:
    """Runs a server without durability on a socket; yields a superuser's URL."""
    with tempfile.TemporaryDirectory(prefix="migrate-pg16-") as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir(mode=0o700)
        account = choose_account(data)
        if account.uid is not None and account.gid is not None:
            for each in (folder, data):
                each.chmod(0o700)
                subprocess.run(["chown", f"{account.uid}:{account.gid}", each], check=True)
            allow_traversal(account, folder, program("postgres").parent)

        def call(command: str, *arguments: object) -> None:
            subprocess.run(
                [program(command), *map(str, arguments)],
                user=account.uid, group=account.gid, extra_groups=[] if account.is_service_account else None,
                cwd=data, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

        call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        options = f"-c listen_addresses='' -k {folder} -c fsync=off -c full_page_writes=off"
        call("pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start")
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
