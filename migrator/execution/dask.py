"""The pool on a Dask cluster, for `engine.executor = "dask://HOST:PORT"`. The extra `dask` installs the library.

A remote worker needs the same packages as this machine and must reach source and target at the same addresses. Both are
checked before the run starts, and by every worker that joins later. Dask logs the repr of what it runs and every raised
error. Therefore no repr contains secrets or values, and errors are returned as values.
"""

from __future__ import annotations

import logging
import pickle
import time
import traceback
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migrator import __version__
from migrator.config.models import Config, SourceConfig
from migrator.errors import AccessError, MigrateError, UsageError
from migrator.events import Emit, Notice
from migrator.execution.pool import WorkersLostError
from migrator.execution.tasks import Fingerprints, Job, Task, TaskResult, close_runners, open_same_source, run_task
from migrator.mapping.project import ProjectPackages, import_packages

if TYPE_CHECKING:
    from distributed import Client


CONNECT_TIMEOUT = 10  # seconds until the scheduler must answer and have a worker
WORKER_TIMEOUT = 120  # seconds without any worker after which a run stops


@dataclass(frozen=True, slots=True)
class RemoteFailure:
    """An error of a remote task as a value, with its traceback."""

    error: Exception
    trace: str

    def __repr__(self) -> str:
        return f"RemoteFailure({type(self.error).__name__})"


class ClusterError(AccessError):
    """The cluster is unreachable, or its workers cannot run tasks."""


@dataclass(frozen=True, slots=True)
class PackedJob:
    """A job for a worker that has not imported the packages of the project yet. Its repr shows no secrets."""

    number: int
    packages: ProjectPackages
    data: bytes = field(repr=False)

    def unpack(self) -> Job:
        """Return the job. Raises: `UsageError` if the packages cannot be imported."""
        import_packages(self.packages)
        job: Job = pickle.loads(self.data)
        return job


def pack(job: Job) -> PackedJob:
    """Return a job that a worker unpacks."""
    return PackedJob(job.number, job.packages, pickle.dumps(job))


class DaskPool:
    """A `Pool` on a Dask cluster. `workers` is the number of concurrent tasks; 0: one per thread of the cluster."""

    is_single = False

    def __init__(self, address: str, workers: int, emit: Emit) -> None:
        self._client = connect(address)
        self._address, self._emit = address, emit
        # A task can be repeated, after its batches were undone. The cluster must not answer with the first result.
        self._executor: Executor = self._client.get_executor(pure=False)
        self.count = workers or self._threads()
        self._last_seen = time.monotonic()
        self._packed: PackedJob | None = None
        self.losses = (*_losses(), CancelledError)

    def prestart(self) -> None:
        """Do nothing: the workers run already."""

    def submit(self, job: Job, task: Task) -> Future[TaskResult]:
        if self._packed is None or self._packed.number != job.number:
            self._packed = pack(job)
        return unwrap(self._executor.submit(run_remote_task, self._packed, task))

    def check(self) -> None:
        """Report that the cluster has no worker, and raise `WorkersLostError` after `WORKER_TIMEOUT` without one."""
        if self._threads():
            self._last_seen = time.monotonic()
            return
        waited = time.monotonic() - self._last_seen
        if waited > WORKER_TIMEOUT:
            raise WorkersLostError(
                f"no worker at {self._address} for {waited:.0f} s",
                hint="Start workers, then run the same command again to resume.",
            )
        self._emit(Notice(text=f"no worker at {self._address}; waiting for one", level="warning"))

    def close(self) -> None:
        self._executor.shutdown(wait=False)
        with suppress(Exception):  # a worker that ended has no open connections
            self._client.run(close_runners, on_error="ignore")
        self._client.close(timeout=CONNECT_TIMEOUT)

    def _threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except (OSError, TimeoutError):
            return 0


def connect(address: str) -> Client:
    """Return a client of the scheduler at `dask://HOST:PORT`. The cluster has at least one worker.

    Raises:
        UsageError: the package distributed is not installed.
        ClusterError: no scheduler answers, or it has no worker.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        hint = (
            "Install it in the environment of migrate: pip install 'mongo-to-postgres[dask]', here and on every worker."
        )
        raise UsageError(f"engine.executor = {address!r} needs the package distributed", hint) from error
    for name in ("distributed", "tornado.application"):  # their errors are reported by this package
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address.replace("dask://", "tcp://", 1), timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError) as error:
        text = f"no answer from a Dask scheduler at {address}"
        raise _as_transient(
            ClusterError(text, "Check that it is running, and check host and port in engine.executor.")
        ) from error
    try:
        client.wait_for_workers(1, timeout=CONNECT_TIMEOUT)
    except TimeoutError as error:
        client.close(timeout=CONNECT_TIMEOUT)
        text = f"the Dask cluster at {address} has no worker"
        raise _as_transient(ClusterError(text, f"Start workers: dask worker {address[7:]} --nthreads 1")) from error
    return client


def _as_transient(error: ClusterError) -> ClusterError:
    error.transient = True
    return error


def check_cluster(
    config: Config, dsn: str, packages: ProjectPackages, fingerprints: Fingerprints, reads_source: bool
) -> None:
    """Check that every worker has the packages and reaches the target, and the source if `reads_source`.

    Raises:
        ClusterError: a worker does not; the message names the worker and the cause.
    """
    source = config.source if reads_source else None
    advice = "Workers use the same addresses of source and target as this machine: use addresses that all can reach."
    if config.target.url.startswith("embedded:"):
        advice = "An embedded target is reachable on its own machine only: start workers there, or use a server."
    client = connect(config.engine.executor)
    try:
        answers = client.run(check_worker, source, dsn, packages, fingerprints, advice, on_error="return")
    finally:
        client.close(timeout=CONNECT_TIMEOUT)
    for worker, answer in answers.items():
        if isinstance(answer, ModuleNotFoundError | ImportError | AttributeError):
            hint = "Install migrate and the packages of [migration] on every worker, in the same versions."
            raise ClusterError(f"worker {worker} cannot import a package: {answer}", hint)
        if isinstance(answer, Exception):
            raise ClusterError(
                f"worker {worker} does not answer: {type(answer).__name__}", "Check the log of the worker."
            )
        if answer:
            raise ClusterError(f"worker {worker}: {answer[0]}", answer[1])


def check_worker(
    source: SourceConfig | None, dsn: str, packages: ProjectPackages, fingerprints: Fingerprints, advice: str
) -> tuple[str, str] | None:
    """Check the worker that runs this function. Return cause and remedy of the first problem, or None.

    `advice` is added to the remedy if the source or the target cannot be reached. `source` is None if it is not read.
    """
    from migrator.mapping.loader import load_definition
    from migrator.targets.server import connect_worker

    same = "Install the same packages on every worker as on this machine."
    try:
        if load_definition(*packages).fingerprint != fingerprints.mappings:
            return f"its mappings differ from the mappings on this machine (migrate {__version__})", same
        if source is not None:
            open_same_source(source, fingerprints).close()
        connect_worker(dsn).close()
    except MigrateError as error:
        return error.message, f"{error.hint} {advice}".strip()
    return None


def run_remote_task(packed: PackedJob, task: Task) -> TaskResult | RemoteFailure:
    """Run a task on a worker, and return errors as values: Dask logs raised errors, with the values in them."""
    try:
        return run_task(_unpack(packed), task)
    except Exception as error:  # noqa: BLE001 - `unwrap` raises it again
        trace = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - pickling of foreign errors can fail in any way
            return RemoteFailure(RuntimeError(f"{type(error).__name__}: {error}"), trace)
        return RemoteFailure(error, trace)


_unpacked: dict[PackedJob, Job] = {}  # the last job of this worker process


def _unpack(packed: PackedJob) -> Job:
    job = _unpacked.get(packed)
    if job is None:
        job = packed.unpack()
        _unpacked.clear()
        _unpacked[packed] = job
    return job


def unwrap(future: Future[Any]) -> Future[TaskResult]:
    """Convert the future of a result or `RemoteFailure` to a future that raises the error."""
    result: Future[TaskResult] = Future()

    def forward(done: Future[Any]) -> None:
        if done.cancelled():
            if not result.cancelled():
                result.set_exception(CancelledError())
            return
        with suppress(Exception):  # `result` was cancelled in the meantime
            if (error := done.exception()) is not None:
                result.set_exception(error)
            elif isinstance(value := done.result(), RemoteFailure):
                value.error.add_note(value.trace)
                result.set_exception(value.error)
            else:
                result.set_result(value)

    def cancel_remote(own: Future[TaskResult]) -> None:
        if own.cancelled():
            future.cancel()

    result.add_done_callback(cancel_remote)
    future.add_done_callback(forward)
    return result


def _losses() -> tuple[type[BaseException], ...]:
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    return KilledWorker, FutureCancelledError, CommClosedError
