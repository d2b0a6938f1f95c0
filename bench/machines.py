"""A run on a Dask cluster with one worker and with two, each in a network namespace of its own, alternately.

The namespaces reach the scheduler and PostgreSQL by TCP only, as other machines do. They share the cores of this one
with PostgreSQL, which limits what a second worker can add. Therefore the runs are repeated with workers that may use a
quarter of a core each, as machines that are slower than the database server. Requires the rights of root, the program
`ip`, and the `cpu` controller of cgroups, version 1.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from bench.documents import write_dump
from bench.processes import COMMAND, Series
from migrator.targets.bundled import allow_traversal, choose_account, program_path

HOST, NETWORK = "10.77.0.1", "10.77.0"
PORT, SCHEDULER = 54377, 54378
ONE, TWO = "1 worker on 1 machine", "2 workers on 2 machines"
SMALL = 0.25  # cores of a small machine
CGROUPS = Path("/sys/fs/cgroup/cpu")
LOAD = """
    SELECT sum(seconds) FROM (
      SELECT extract(epoch FROM max(committed) - min(began)) AS seconds FROM migrator.batches GROUP BY collection) s
"""
PERIOD = 100_000  # microseconds; the period in which a quota is spent


def compare_machines(folder: Path, documents: int, repetitions: int) -> Series:
    """Return the seconds of runs and of their loads, with one worker and with two, of both sizes of machines."""
    write_dump(folder / "dump" / "LibreChat", documents)
    series = Series()
    with bridge(), server(folder):
        for cores in (None, SMALL):
            for _ in range(repetitions):
                for name, count in ((ONE, 1), (TWO, 2)):
                    whole, load = run(folder, count, cores)
                    series.add(named("run", name, cores), whole)
                    series.add(named("load", name, cores), load)
    return series


def named(part: str, name: str, cores: float | None) -> str:
    """Return the name of a series."""
    return f"{part}, {name}" + (f" of {cores} cores" if cores else "")


def run(folder: Path, workers: int, cores: float | None) -> tuple[float, float]:
    """Return the seconds that a run with so many workers reports, and those of its steps that load documents.

    `cores`: what each worker may use of the time of one core; None is unlimited.
    """
    with ExitStack() as exits, (folder / "dask.log").open("ab") as log:

        def start(*command: object) -> None:
            process = subprocess.Popen([*map(str, command)], stdout=log, stderr=log, cwd=folder)
            exits.callback(process.wait)
            exits.callback(process.kill)

        tool = [sys.executable, "-m"]
        start(*tool, "distributed.cli.dask_scheduler", "--host", HOST, "--port", SCHEDULER, "--no-dashboard")
        for number in range(1, workers + 1):
            enter = [*exits.enter_context(limited(number, cores)), "ip", "netns", "exec", namespace(number)]
            worker = ["distributed.cli.dask_worker", f"tcp://{HOST}:{SCHEDULER}", "--nthreads", 1, "--no-nanny"]
            start(*enter, *tool, *worker, "--no-dashboard", "--local-directory", folder / f"worker{number}")
        url = f"postgresql://postgres@{HOST}:{PORT}/"
        with psycopg.connect(f"{url}postgres", autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS app")
            connection.execute("CREATE DATABASE app")
        config = folder / "migrate.toml"
        config.write_text(
            f'[source]\nurl = "dump:{folder}/dump"\n[target]\nurl = "{url}app"\n'
            f'[engine]\nexecutor = "dask://{HOST}:{SCHEDULER}"\n'
        )
        wait_for_workers(workers)
        done = subprocess.run([COMMAND, "run", "-q", "--json", "-c", config], capture_output=True, check=True)
        with psycopg.connect(f"{url}app", autocommit=True) as connection:
            (load,) = connection.execute(LOAD).fetchone() or (0,)
        return float(json.loads(done.stdout)["seconds"]), float(load)


@contextmanager
def limited(number: int, cores: float | None) -> Iterator[list[str]]:
    """Yield the beginning of a command line whose processes may use so much of the time of one core."""
    if cores is None:
        yield []
        return
    group = CGROUPS / namespace(number)
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(round(PERIOD * cores)))
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
    finally:
        group.rmdir()  # the processes have ended: the caller started them later


def wait_for_workers(count: int) -> None:
    """Wait until the scheduler has all workers."""
    from distributed import Client

    with Client(f"tcp://{HOST}:{SCHEDULER}", timeout=30, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


def namespace(number: int) -> str:
    """Return the name of the namespace of a worker."""
    return f"migrate{number}"


@contextmanager
def bridge(count: int = 2) -> Iterator[None]:
    """Create a bridge with the address `HOST`, and namespaces that are connected to it."""

    def ip(*arguments: object) -> None:
        subprocess.run(["ip", *map(str, arguments)], check=True)

    with ExitStack() as exits:
        ip("link", "add", "migrate", "type", "bridge")
        exits.callback(ip, "link", "delete", "migrate")
        ip("address", "add", f"{HOST}/24", "dev", "migrate")
        ip("link", "set", "migrate", "up")
        for number in range(1, count + 1):
            name, end = namespace(number), f"migrate-v{number}"
            ip("netns", "add", name)
            exits.callback(ip, "netns", "delete", name)
            ip("link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", end, "master", "migrate", "up")
            for each in (("lo", "up"), ("eth0", "up")):
                ip("-n", name, "link", "set", *each)
            ip("-n", name, "address", "add", f"{NETWORK}.{number + 1}/24", "dev", "eth0")
        yield


@contextmanager
def server(folder: Path) -> Iterator[None]:
    """Start a PostgreSQL with the settings of an embedded one that listens at `HOST`."""
    data = folder / "server"
    data.mkdir(mode=0o700)
    account = choose_account(data)
    if account.uid is not None and account.gid is not None:
        shutil.chown(data, account.uid, account.gid)
        allow_traversal(account, folder, program_path("postgres").parent)

    def call(name: str, *arguments: object) -> None:
        subprocess.run(
            [program_path(name), *map(str, arguments)], cwd=data, check=True, stdout=subprocess.DEVNULL,
            user=account.uid, group=account.gid, extra_groups=[] if account.is_service_account else None,
        )  # fmt: skip

    call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
    with (data / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {NETWORK}.0/24 trust\n")
    options = f"-c listen_addresses={HOST} -p {PORT} -k {data} -c max_wal_size=4GB -c shared_buffers=256MB"
    call("pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start")
    try:
        yield
    finally:
        call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


def machine_lines(series: Series, documents: int) -> list[str]:
    """Return the lines on runs with one machine and with two."""
    ratios = [(part, cores) for cores in (None, SMALL) for part in ("run", "load")]
    return [
        f"{documents:,} messages on a Dask cluster of network namespaces",
        "",
        *series.lines(documents),
        "",
        *(
            f"{named(part, 'one machine ÷ two machines', cores):52}"
            f"{series.ratio(named(part, ONE, cores), named(part, TWO, cores)):9.2f}"
            for part, cores in ratios
        ),
        time.strftime("measured on %Y-%m-%d"),
    ]
