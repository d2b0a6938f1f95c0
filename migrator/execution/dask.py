"""The workers of a Dask cluster, for `engine.executor = "dask://HOST:PORT"`: they carry out what processes here would.

A worker there needs the same packages, and reaches source and target by the same addresses; that is looked at before
anything begins, and again by whoever joins later. Dask logs what it runs and what failed, so nothing that it sees has
secrets or values in its repr, and errors come back as values.
Nothing here knows documents; the extra `dask` brings the library.
"""

from __future__ import annotations

import logging
import pickle
import time
import traceback
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migrator import __version__
from migrator.config.models import Config
from migrator.errors import AccessError, MigrateError, UsageError
from migrator.events import Emit, Notice
from migrator.execution.pool import WorkersLostError
from migrator.execution.tasks import Fingerprints, Job, Task, TaskResult, close_runners, open_same_source, run_task

if TYPE_CHECKING:
    from distributed import Client

    from migrator.mapping.project import ProjectPackages

CONNECTS = 10  # seconds in which a scheduler answers, and has a worker
PATIENCE = 120  # seconds without any worker, until a run ends


@dataclass(frozen=True, slots=True)
class RemoteFailure:
    """An error as a value, with where it happened."""

    error: Exception
    trace: str

    def __repr__(self) -> str:
        return f"Failure({type(self.error).__name__})"


class ClusterError(AccessError):
    """The cluster cannot be reached, or its workers cannot do the work."""


class DaskPool:
    """A `Pool` on a Dask cluster: so many tasks at once as it has threads, or as `workers` asks for."""

    is_single = False

    def __init__(self, address: str, workers: int, emit: Emit) -> None:
        self._client = connect(address)
        self._address, self._emit = address, emit
        self._executor: Executor = self._client.get_executor()
        self.count = workers or self._threads()
        self._seen = time.monotonic()
        self.losses = (*_losses(), CancelledError)

    def prestart(self) -> None:
        """They run already."""

    def submit(self, job: Job, task: Task) -> Future[TaskResult]:
        return unwrap(self._executor.submit(run_remote_task, job, task))

    def check(self) -> None:
        """Raises where there has been no worker for a while; says that it waits for one."""
        if self._threads():
            self._seen = time.monotonic()
            return
        waited = time.monotonic() - self._seen
        if waited > PATIENCE:
            raise WorkersLostError(
                f"{self._address} has had no worker for {waited:.0f} s", "Start workers, then again."
            )
        self._emit(Notice(text=f"{self._address} has no worker at the moment; waiting for one", level="warning"))

    def close(self) -> None:
        self._executor.shutdown(wait=False)
        with suppress(Exception):  # whoever is gone has closed everything
            self._client.run(close_runners, on_error="ignore")
        self._client.close(timeout=CONNECTS)

    def _threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except (OSError, TimeoutError):
            return 0


def connect(address: str) -> Client:
    """A client of the scheduler at `dask://HOST:PORT`, which has a worker. Errors: `UsageError`, `ClusterError`."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        hint = "Install it beside migrate: pip install 'mongo-to-postgres[dask]', here and on every worker."
        raise UsageError(f"engine.executor = {address!r} needs the package distributed", hint) from error
    for name in ("distributed", "tornado.application"):  # what they tell, we tell; tracebacks are for nobody
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address.replace("dask://", "tcp://", 1), timeout=CONNECTS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        text = f"no Dask scheduler answers at {address}"
        raise _passing(ClusterError(text, "Is it running, and are host and port of engine.executor right?")) from error
    try:
        client.wait_for_workers(1, timeout=CONNECTS)
    except TimeoutError as error:
        client.close(timeout=CONNECTS)
        text = f"the Dask cluster at {address} has no worker"
        raise _passing(ClusterError(text, f"Start some: dask worker {address[7:]} --nthreads 1")) from error
    return client


def _passing(error: ClusterError) -> ClusterError:
    error.transient = True
    return error


def check_cluster(
    config: Config, dsn: str, packages: ProjectPackages, fingerprints: Fingerprints, splits: bool
) -> None:
    """Whether every worker has the packages and reaches source (where it is to read it) and target."""
    address = config.engine.executor
    client = connect(address)
    try:
        answers = client.run(examine, config, dsn, packages, fingerprints, splits, on_error="return")
    finally:
        client.close(timeout=CONNECTS)
    for worker, answer in answers.items():
        if isinstance(answer, ModuleNotFoundError | ImportError | AttributeError):
            hint = "Install migrate and the packages of [migration] there, in the versions of here."
            raise ClusterError(f"worker {worker} cannot import what it needs: {answer}", hint)
        if isinstance(answer, Exception):
            raise ClusterError(f"worker {worker} does not answer: {type(answer).__name__}", "See its log.")
        if answer:
            raise ClusterError(f"worker {worker}: {answer[0]}", answer[1])


def examine(
    config: Config, dsn: str, packages: ProjectPackages, fingerprints: Fingerprints, splits: bool
) -> tuple[str, str] | None:
    """On a worker: what is in the way there, and what to do about it."""
    from migrator.mapping.loader import load_definition
    from migrator.targets.server import connect_worker

    same = "Install the same packages on every worker as here."
    try:
        if load_definition(*packages).fingerprint != fingerprints.mappings:
            return f"migrate {__version__} has other mappings there than here", same
        if splits:
            open_same_source(config, fingerprints).close()
        connect_worker(dsn).close()
    except MigrateError as error:
        reach = "Workers reach source and target as this machine does: give addresses that hold on all of them."
        if config.target.url.startswith("embedded:"):
            reach = "An embedded target is reached on its own machine only: use workers there, or a server as target."
        return error.message, f"{error.hint} {reach}".strip()
    return None


def run_remote_task(job: Job, task: Task) -> TaskResult | RemoteFailure:
    """On a worker: `run_task`, with errors as values: raised, they would be in the worker's log, values and all."""
    try:
        return run_task(job, task)
    except Exception as error:  # noqa: BLE001 - it is raised again where the result is taken
        trace = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - anything at all may go wrong with somebody's error
            return RemoteFailure(RuntimeError(f"{type(error).__name__}: {error}"), trace)
        return RemoteFailure(error, trace)


def unwrap(future: Future[Any]) -> Future[TaskResult]:
    """The future of a result, of one that may be a `RemoteFailure`."""
    result: Future[TaskResult] = Future()

    def hand_on(done: Future[Any]) -> None:
        if done.cancelled():
            if not result.cancelled():
                result.set_exception(CancelledError())
            return
        with suppress(Exception):  # cancelled meanwhile: nobody waits for it
            if (error := done.exception()) is not None:
                result.set_exception(error)
            elif isinstance(value := done.result(), RemoteFailure):
                value.error.add_note(value.trace)
                result.set_exception(value.error)
            else:
                result.set_result(value)

    def give_up(own: Future[TaskResult]) -> None:
        if own.cancelled():
            future.cancel()

    result.add_done_callback(give_up)
    future.add_done_callback(hand_on)
    return result


def _losses() -> tuple[type[BaseException], ...]:
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError

    return KilledWorker, FutureCancelledError, CommClosedError
