"""Writes the loaded documents of large collections in parts, one for each worker process.

All parts read the same snapshot of the database. A part is a range of pages of the ledger, because rows were loaded in
its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from psycopg import sql

from migrator.execution.pool import ProcessPool, worker_ended
from migrator.execution.tasks import forbid_parallel_queries
from migrator.mapping.loader import load_definition
from migrator.mapping.project import ProjectPackages
from migrator.rows.loaded_rows import Pages
from migrator.rows.rebuild import read_bson
from migrator.rows.store import RowStore
from migrator.state.ledger import Counts
from migrator.state.records import Connection, Namespace
from migrator.targets.server import connect_worker
from migrator.workflows.export_files import write_file

LARGE = 50_000  # documents; below this number, worker processes start later than one process ends
PROGRESS_SECONDS = 0.5

# psycopg's work_mem of 4 MB would write the ledger of a large collection to temporary files.
_SETTINGS = """
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL work_mem = '64MB';
    SET TRANSACTION SNAPSHOT {}
"""


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """What a worker process needs. Picklable. `dsn` can contain a password, so `repr` shows nothing."""

    packages: ProjectPackages
    dsn: str
    snapshot: str
    collection: str
    pages: Pages
    path: Path

    def __repr__(self) -> str:
        return "PartJob(…)"


def write_part(job: PartJob) -> int:
    """Write the loaded documents in some pages of the ledger, in a worker process. Return their number."""
    mappings = load_definition(*job.packages).mappings
    with closing(connect_worker(job.dsn)) as connection, connection.transaction():
        connection.execute(sql.SQL(_SETTINGS).format(sql.Literal(job.snapshot)))
        forbid_parallel_queries(connection)
        rows = RowStore(connection, Namespace(), mappings)
        return write_file(job.path, (raw for _, raw in read_bson(rows, mappings[job.collection], job.pages)))


class ExportWorkers:
    """The worker processes of an export, started with the first large collection. `count` 0: one per core."""

    def __init__(self, dsn: str, packages: ProjectPackages, count: int) -> None:
        self._dsn, self._packages = dsn, packages
        self._pool = ProcessPool(count, packages, (__name__,))

    def prepare(self, loaded: int) -> None:
        """Let the server of the worker processes import its modules, if `loaded` documents need it."""
        if loaded >= LARGE:
            self._pool.preload()

    def are_used(self, counts: Counts | None) -> bool:
        """Return whether the loaded documents of a collection are written in parts."""
        return counts is not None and counts.loaded >= LARGE and not self._pool.is_single

    def write(
        self, connection: Connection, collection: str, path: Path, progress: Callable[[int], None]
    ) -> tuple[list[Path], int]:
        """Write the loaded documents of a collection to files next to `path`. Return them, and the number of documents.

        `progress` is called with the number of documents that are read so far.
        """
        paths = [path.with_name(f"{path.name}{number}") for number in range(self._pool.count)]
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            found = connection.execute("SELECT pg_export_snapshot()").fetchone()
            assert found is not None  # the SELECT returns one row
            pages = split_pages(connection, Namespace(), collection, len(paths))
            running = [
                self._pool.call(write_part, PartJob(
                    packages=self._packages, dsn=self._dsn, snapshot=found[0], collection=collection,
                    pages=part, path=each,
                ))
                for part, each in zip(pages, paths, strict=True)
            ]  # fmt: skip
            return paths, sum(self._wait(connection, running, progress))

    def _wait(self, connection: Connection, running: list[Future[int]], progress: Callable[[int], None]) -> list[int]:
        left = set(running)
        try:
            while left:
                _, left = wait(left, timeout=PROGRESS_SECONDS, return_when=FIRST_COMPLETED)
                done = sum(each.result() for each in running if each not in left)
                progress(done + count_copied(connection))
            return [each.result() for each in running]
        except self._pool.losses as error:
            raise worker_ended() from error

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


def count_copied(connection: Connection) -> int:
    """Return the number of rows that running COPY TO statements of this database have sent to this user's workers."""
    connection.execute("SELECT pg_stat_clear_snapshot()")
    found = connection.execute(
        "SELECT sum(tuples_processed)::bigint FROM pg_stat_progress_copy"
        " WHERE command = 'COPY TO' AND datname = current_database() AND relid = 0"
    ).fetchone()
    return int(found[0] or 0) if found else 0


def split_pages(connection: Connection, namespace: Namespace, collection: str, count: int) -> Iterator[Pages]:
    """Yield equal ranges of pages of the ledger, from the first entry of a collection to the last."""
    query = namespace.sql("SELECT min(ctid)::text, max(ctid)::text FROM {ledger} WHERE collection = %s")
    found = connection.execute(query, (collection,)).fetchone()
    first, last = (int(each[1:].partition(",")[0]) for each in found) if found and found[0] else (0, 0)
    bounds = [first + (last + 1 - first) * number // count for number in range(count + 1)]
    for start, stop in pairwise(bounds):
        yield Pages(start, stop)
