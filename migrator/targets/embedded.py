"""The bundled PostgreSQL as a target: it needs nothing but a folder. The server process is in `postmaster.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from psycopg.conninfo import make_conninfo

from migrator.masking import Secrets
from migrator.targets.base import Connection
from migrator.targets.bundled import SUPERUSER, program_path
from migrator.targets.postmaster import Postmaster
from migrator.targets.server import open_connection

# For a new folder. Loading writes gigabytes: with the default max_wal_size of 1 GB there is a checkpoint every few
# seconds, and after each of them every page is written whole again.
SETTINGS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # Together with the leader as many processes as cores. With more, the build of a full-text index would take CPU time
    # from the work that runs at the same time.
    "max_parallel_maintenance_workers": str(max(1, (os.cpu_count() or 2) - 1)),
}


class EmbeddedTarget:
    """A server that runs from construction to `close`, at the latest to the end of the process.

    Processes and targets that open the same folder share one server; the last one to close it stops it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        create: bool = True,
        settings: Mapping[str, str] = SETTINGS,
        durable: bool = True,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.label = f"embedded:{folder}"
        self._postmaster = Postmaster(folder, settings=settings, durable=durable, notify=notify)
        address = self._postmaster.join(create=create)
        self.dsn = make_conninfo(host=address.socket_folder, port=address.port, user=SUPERUSER, dbname="postgres")

    def __repr__(self) -> str:
        return f"EmbeddedTarget({self.label})"

    def connect(self) -> Connection:
        """Return a new connection; a server that has crashed is started again first.

        Closed sessions are not used again: one of a crashed server answers for a moment longer than the server.
        """
        self._postmaster.ensure_running()
        return open_connection(self.dsn, self.label, Secrets([]))

    def psql_command(self) -> list[str]:
        return [str(program_path("psql")), self.dsn]

    def psql_environment(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        self._postmaster.leave()
