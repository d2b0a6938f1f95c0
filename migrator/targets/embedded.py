"""The bundled PostgreSQL as a target: a folder is all it takes. How its process is run is in postmaster.py."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from psycopg.conninfo import make_conninfo

from migrator.masking import Secrets
from migrator.targets.base import Connection
from migrator.targets.bundled import SUPERUSER, program_path
from migrator.targets.postmaster import Postmaster
from migrator.targets.server import open_connection

# For a folder that is made here. Loading writes gigabytes: with the default of 1 GB of log, checkpoints come every few
# seconds and every one writes whole pages again.
SETTINGS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # With the one that leads as many as there are cores: a full-text index that is built by more keeps out what goes on
    # beside it.
    "max_parallel_maintenance_workers": str(max(1, (os.cpu_count() or 2) - 1)),
}


class EmbeddedTarget:
    """A server of our own, running from construction to `close` (at the latest: the end of the process).

    Processes and targets that open the same folder share one server; the last to close it stops it.
    """

    def __init__(
        self, folder: Path, *, create: bool = True, settings: Mapping[str, str] = SETTINGS, durable: bool = True
    ) -> None:
        self.label = f"embedded:{folder}"
        self._postmaster = Postmaster(folder, settings=settings, durable=durable)
        address = self._postmaster.join(create=create)
        self.dsn = make_conninfo(host=address.socket_folder, port=address.port, user=SUPERUSER, dbname="postgres")

    def __repr__(self) -> str:
        return f"EmbeddedTarget({self.label})"

    def connect(self) -> Connection:
        """Starts the server again where it is gone: nobody else would."""
        self._postmaster.ensure_running()
        return open_connection(self.dsn, self.label, Secrets([]))

    def psql_command(self) -> list[str]:
        return [str(program_path("psql")), self.dsn]

    def psql_environment(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        self._postmaster.leave()
