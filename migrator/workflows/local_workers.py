"""The worker processes of this machine: whether a command needs them, and when they start."""

from __future__ import annotations

from contextlib import suppress

from migrator.errors import MigrateError
from migrator.execution.fork_server import LARGE_SOURCE
from migrator.execution.pool import ProcessPool
from migrator.workflows.migration import MigrationContext


def open_local_pool(context: MigrationContext, modules: tuple[str, ...] = ()) -> ProcessPool:
    """Return worker processes of this machine, which are started with their first task. They import `modules`."""
    return ProcessPool(context.config.engine.workers, context.definition.packages, modules)


def preload_workers(context: MigrationContext, modules: tuple[str, ...] = ()) -> None:
    """Let the worker processes of this machine import their modules in advance if `Pipeline.run` will start them.

    The imports take half a second, in parallel to the preparation of the target.
    """
    if context.config.engine.executor == "local" and needs_workers(context):
        open_local_pool(context, modules).preload()


def preload_workers_early(context: MigrationContext, modules: tuple[str, ...] = ()) -> None:
    """Call `preload_workers` before the checks of a command. They report what is wrong with the source.

    Not for a live source, which the checks ask first.
    """
    if not context.source.is_live:
        with suppress(MigrateError):
            preload_workers(context, modules)


def needs_workers(context: MigrationContext) -> bool:
    """Return whether the source is large enough that worker processes are certainly used."""
    source = context.source
    sizes = [each.bytes for each in source.collections() if source.reads_partitions(each.name)]
    is_large = None in sizes or sum(each or 0 for each in sizes) > LARGE_SOURCE
    return is_large and context.config.engine.workers != 1 and context.definition.packages is not None
