"""The preflight of a migration: what would stop it, found in seconds and before anything is written.

`migrate check` prints it; `plan` and `run` begin with it. It reads catalogs and collection names, never documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from migrator.errors import AccessError, MigrateError, PlanError
from migrator.postgres import server_checks
from migrator.postgres.privileges import require_create
from migrator.postgres.server_checks import Problem
from migrator.state import journal
from migrator.state.lock import find_holder
from migrator.state.records import Connection, has_records
from migrator.targets.base import Target
from migrator.workflows.migration import MigrationContext
from migrator.workflows.run import check_embedding

FURTHER_CONNECTIONS = 4  # the coordinating session, the monitor, and two that build indexes while the load runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check. `level`: ok, warning or blocker."""

    check: str
    level: str
    text: str
    remedy: str = ""


@dataclass(slots=True, kw_only=True)
class PreflightReport:
    """All results. `unreachable`: whether source, target or a service could not be used at all."""

    source: str
    target: str
    tenant: str
    findings: list[Finding] = field(default_factory=list)
    unreachable: bool = False

    @property
    def blockers(self) -> list[Finding]:
        return [each for each in self.findings if each.level == "blocker"]

    @property
    def exit_code(self) -> int:
        if self.unreachable:
            return AccessError.exit_code
        return PlanError.exit_code if self.blockers else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": not self.blockers,
            "source": self.source,
            "target": self.target,
            "tenant": self.tenant,
            "checks": [asdict(each) for each in self.findings],
        }


Check = Callable[[], Iterator[Problem]]


def check_migration(context: MigrationContext, target: Target | None, *, services: bool = True) -> PreflightReport:
    """Runs every check and returns the report. `target` is None where an embedded one does not exist yet.

    `services`: send one short text to the embedding service.
    """
    report = PreflightReport(
        source=f"{context.source.label} ({context.source.database})",
        target="a new embedded database" if target is None else target.label,
        tenant=context.config.tenant.id,
    )
    _execute(report, "source", partial(check_source, context), f"{len(context.source.collections())} collections")
    if target is not None:
        _check_target(report, context, target)
    if services:
        _execute(report, "services", partial(_check_services, context), context.config.embedding.provider)
    return report


def require_no_blockers(report: PreflightReport) -> None:
    """Raises `PlanError` that lists the blockers with their remedies, if there are any."""
    if found := report.blockers:
        raise PlanError(
            "the migration cannot run: " + "; ".join(each.text for each in found),
            hint=" ".join(each.remedy for each in found if each.remedy) + " Nothing was written.",
        )


def check_source(context: MigrationContext) -> Iterator[Problem]:
    """Yields problems with the names of the collections: the wrong database, or collections that are missing."""
    found = {each.name for each in context.source.collections()}
    expected = {name for name, each in context.definition.mappings.items() if each.section is None}
    missing = sorted(expected - found)
    if expected and not expected & found:
        yield Problem(
            level="blocker",
            text=f"database {context.source.database!r} contains none of the collections that the mappings expect"
            f" ({', '.join(missing)})",
            remedy="Check source.database and source.url; names are case-sensitive.",
        )
    elif missing:
        yield Problem(
            level="warning",
            text=f"the source has no collection {', '.join(missing)}; their tables stay empty",
            remedy="Check source.database if these collections should exist.",
        )


def _check_target(report: PreflightReport, context: MigrationContext, target: Target) -> None:
    """Adds the results about the target. Without a connection there is one: the reason."""
    try:
        connection = target.connect()
    except MigrateError as error:
        report.unreachable = True
        report.findings.append(Finding(check="target", level="blocker", text=error.message, remedy=error.hint))
        return
    with closing(connection):
        extensions = tuple(context.definition.metadata.info.get("extensions", ()))
        needed = (context.config.engine.workers or 2) + FURTHER_CONNECTIONS
        checks: dict[str, tuple[Check, str]] = {
            "server": (partial(server_checks.check_encoding, connection), server_checks.describe_server(connection)),
            "access": (partial(server_checks.check_writable, connection), "read and write"),
            "privileges": (partial(_check_privileges, connection, extensions), "sufficient"),
            "extensions": (partial(server_checks.check_extensions, connection, extensions), ", ".join(extensions)),
            "connections": (partial(server_checks.check_free_connections, connection, needed), f"{needed} available"),
            "clock": (partial(server_checks.check_clock, connection), "in step"),
            "run": (partial(check_existing_run, context, connection), describe_run(context, connection)),
        }
        for name, (check, text) in checks.items():
            _execute(report, name, check, text)


def _execute(report: PreflightReport, name: str, check: Check, text: str) -> None:
    """Adds the results of one check: its problems, or that all is well."""
    try:
        problems = list(check())
    except MigrateError as error:
        report.unreachable |= isinstance(error, AccessError) and name == "services"
        problems = [Problem(level="blocker", text=error.message, remedy=error.hint)]
    for each in problems:
        report.findings.append(Finding(check=name, level=each.level, text=each.text, remedy=each.remedy))
    if not problems:
        report.findings.append(Finding(check=name, level="ok", text=text))


def _check_privileges(connection: Connection, extensions: tuple[str, ...]) -> Iterator[Problem]:
    require_create(connection, extensions)
    yield from ()


def _check_services(context: MigrationContext) -> Iterator[Problem]:
    check_embedding(context, send_request=True)
    yield from ()


def check_existing_run(context: MigrationContext, connection: Connection) -> Iterator[Problem]:
    """Yields a blocker where another migrate process uses the target, or the records have another version."""
    if holder := find_holder(connection):
        yield Problem(
            level="blocker",
            text=f"another migrate process is using this target: {holder}",
            remedy="Wait until it finishes; `migrate status` shows its progress.",
        )
    has_records(connection, context.namespace)


def describe_run(context: MigrationContext, connection: Connection) -> str:
    """Returns the state of an existing run in words. Records of another version are reported by the check."""
    try:
        found = journal.latest_run(connection, context.namespace) if has_records(connection, context.namespace) else None
    except MigrateError:
        return ""
    return "no run yet" if found is None else f"run {found[0]} is {found[1]}"
