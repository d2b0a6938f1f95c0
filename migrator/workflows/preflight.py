"""The preflight of a migration: what would stop it, found in seconds and before anything is written.

`migrate check` prints it; `plan` and `run` begin with it. It reads catalogs and collection names, and only those
documents that `adopter_check` and `vector_checks` need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from migrator.errors import AccessError, MigrateError, PlanError, SourceError, TargetError, UsageError
from migrator.formatting import format_count
from migrator.mapping.adopter import NOBODY
from migrator.mapping.returning import find_obstacles
from migrator.postgres import server_checks
from migrator.postgres.owner_checks import check_owner_objects, check_vector_column
from migrator.postgres.privileges import require_create
from migrator.postgres.server_checks import Problem
from migrator.postgres.table_names import name_of
from migrator.state import journal
from migrator.state.lock import find_holder
from migrator.state.records import Connection, has_records
from migrator.targets.base import Target
from migrator.workflows.adopter_check import check_adopter
from migrator.workflows.disk_check import estimate_disk
from migrator.workflows.embedding import check_embedding
from migrator.workflows.fingerprints import collect_fingerprints, find_changes
from migrator.workflows.migration import MigrationContext
from migrator.workflows.vector_checks import check_vectors, describe_vectors

OWNER = "owner of orphans"  # the name of a check
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
    """All results. `unreachable`: whether the target or a service could not be used at all."""

    source: str
    target: str
    tenant: str
    findings: list[Finding] = field(default_factory=list)
    unreachable: bool = False
    denied: bool = False  # whether a blocker is a missing privilege
    changed: bool = False  # whether an existing run had another source or other settings
    has_run: bool = False

    @property
    def lacks_owner(self) -> bool:
        """Whether the row of the adopter does not exist."""
        return any(each.check == OWNER for each in self.blockers)

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


def check_migration(context: MigrationContext, target: Target | None, *, complete: bool = False) -> PreflightReport:
    """Runs the checks and returns the report. `target` is None where an embedded one does not exist yet.

    `complete`: also what `run` checks when it is needed: the embedding service, which gets one short text, and whether
    another process uses the target.

    Raises: `UsageError` for wrong settings, or records of another version.
    """
    report = PreflightReport(
        source=context.source.label,
        target="a new embedded database" if target is None else target.label,
        tenant=str(context.config.tenant.id),
    )
    _execute(
        report, "source", partial(check_source, context), format_count(len(context.source.collections()), "collections")
    )
    if context.source.changing is not None:
        _execute(report, "cutover", partial(check_return, context), "changes of rows can be returned")
    _execute(report, "vectors", partial(check_vectors, context), describe_vectors(context.config))
    _execute(report, OWNER, partial(check_adopter, context, target), _describe_adopter(context))
    if target is not None:
        _check_target(report, context, target, complete=complete)
    else:
        _execute(report, "disk", *_disk_check(context, None, has_run=False))
    if complete:
        _execute(
            report, "services", partial(_check_services, context), f"embedding: {context.config.embedding.provider}"
        )
    return report


def _describe_adopter(context: MigrationContext) -> str:
    adopter = context.definition.adopter
    return (None if adopter is None else adopter.value(context.config)) or NOBODY


def require_no_blockers(report: PreflightReport) -> None:
    """Raises an error that lists the blockers with their remedies, if there are any.

    Raises: `TargetError` where a privilege is missing, `SourceError` where a source is unreachable, `UsageError` where
    an existing run had another source or other settings, `PlanError` for all other blockers.
    """
    if found := report.blockers:
        kind: type[MigrateError] = UsageError if report.changed else PlanError
        if report.denied or report.unreachable:
            kind = TargetError if report.denied else SourceError
        raise kind(
            "the migration cannot run: " + "; ".join(each.text for each in found),
            hint=" ".join([*(each.remedy for each in found if each.remedy), "Nothing was written."]),
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


def check_return(context: MigrationContext) -> Iterator[Problem]:
    """Yields why `migrate cutover` would refuse this migration. A run needs no cutover."""
    for problem, remedy in find_obstacles(context.definition.mappings.values()):
        yield Problem(level="warning", text=f"`migrate cutover` cannot be used: {problem}", remedy=remedy)


def _check_target(report: PreflightReport, context: MigrationContext, target: Target, *, complete: bool) -> None:
    with closing(target.connect()) as connection:
        found = (
            journal.latest_run(connection, context.namespace) if has_records(connection, context.namespace) else None
        )
        report.has_run = found is not None
        extensions = tuple(context.definition.metadata.info.get("extensions", ()))
        needed = (context.config.engine.workers or 2) + FURTHER_CONNECTIONS
        checks: dict[str, tuple[Check, str]] = {
            "server": (partial(server_checks.check_encoding, connection), server_checks.describe_server(connection)),
            "access": (partial(server_checks.check_writable, connection), "read and write"),
            "privileges": (partial(_check_privileges, connection, extensions), "sufficient"),
            "extensions": (partial(server_checks.check_extensions, connection, extensions), ", ".join(extensions)),
            "owner's objects": (
                partial(_check_owner_objects, connection, context),
                "none to consider",
            ),
            "tablespace": (partial(server_checks.check_tablespace, connection), "usable"),
            "connections": (partial(server_checks.check_free_connections, connection, needed), f"{needed} available"),
            "disk": _disk_check(context, connection, has_run=report.has_run),
            "clock": (partial(server_checks.check_clock, connection), "in step"),
            "run": (partial(check_existing_run, connection, found, complete=complete), "no run yet"),
            "changes": (partial(check_changes, context, found), "none since the run began"),
        }
        for name, (check, text) in checks.items():
            _execute(report, name, check, text)


def _disk_check(context: MigrationContext, connection: Connection | None, *, has_run: bool) -> tuple[Check, str]:
    """Returns the check of the disk, and its text if all is well. Rows of an existing run are on the disk already."""
    if has_run:
        return (lambda: iter(()), "not estimated, because the target contains a run")
    found = estimate_disk(context, connection)
    return found.check, found.text


def _execute(report: PreflightReport, name: str, check: Check, text: str) -> None:
    """Adds the results of one check: its problems, or that all is well."""
    try:
        problems = list(check())
    except AccessError as error:
        report.unreachable |= name in ("services", "vectors", OWNER)
        report.denied |= name == "privileges"
        problems = [Problem(level="blocker", text=error.message, remedy=error.hint)]
    report.changed |= name == "changes" and bool(problems)
    for each in problems:
        report.findings.append(Finding(check=name, level=each.level, text=each.text, remedy=each.remedy))
    if not problems:
        report.findings.append(Finding(check=name, level="ok", text=text))


def _check_privileges(connection: Connection, extensions: tuple[str, ...]) -> Iterator[Problem]:
    require_create(connection, extensions)
    yield from ()


def _check_owner_objects(connection: Connection, context: MigrationContext) -> Iterator[Problem]:
    metadata, embedded = context.definition.metadata, context.definition.embedded
    yield from check_owner_objects(connection, metadata)
    if embedded is not None and context.config.embedding.provider != "none":
        yield from check_vector_column(connection, metadata, name_of(embedded.table), embedded.vector)


def _check_services(context: MigrationContext) -> Iterator[Problem]:
    check_embedding(context, send_request=True)
    yield from ()


def check_changes(context: MigrationContext, run: tuple[int, str, dict[str, str]] | None) -> Iterator[Problem]:
    """Yields a problem if source, configuration or mappings are not those of the existing run."""
    changed = [] if run is None else find_changes(run[2], collect_fingerprints(context), context.config)
    if run is not None and changed:
        yield Problem(
            level="blocker",
            text=f"changed since the migration in this target began: {', '.join(changed)}",
            remedy="Restore the previous state, or run `migrate revert` first. For rejected documents only:"
            " `migrate rejects retry`.",
        )


def check_existing_run(
    connection: Connection, run: tuple[int, str, dict[str, str]] | None, *, complete: bool
) -> Iterator[Problem]:
    """Yields a warning about an existing run; with `complete`, a blocker where another process uses the target."""
    holder = find_holder(connection) if complete else None
    if holder is not None:
        yield Problem(
            level="blocker",
            text=f"another migrate process is using this target: {holder}",
            remedy="Wait until it finishes; `migrate status` shows its progress.",
        )
    elif run is not None and run[1] == "done":
        yield Problem(
            level="warning",
            text=f"the target contains the finished run {run[0]}",
            remedy="`migrate verify` compares it with the source; `migrate revert` undoes it.",
        )
    elif run is not None:
        yield Problem(level="warning", text=f"run {run[0]} is unfinished", remedy="`migrate run` resumes it.")
