"""The fingerprints of source, configuration and mappings, which must not change during a migration."""

from __future__ import annotations

from collections.abc import Mapping

from migrator.config.models import embedding_fingerprint, fingerprint
from migrator.errors import UsageError
from migrator.state import journal
from migrator.state.records import Connection, Namespace, has_records
from migrator.workflows.migration import MigrationContext


def collect_fingerprints(context: MigrationContext) -> dict[str, str]:
    """Return name → digest of everything that a resumed run must find unchanged."""
    return {
        "source": context.source.fingerprint(),
        "configuration": fingerprint(context.config),
        "mappings": context.definition.fingerprint,
        **context.source.auxiliary_fingerprints(),
        "embedding": embedding_fingerprint(context.config),
    }


def require_unchanged(connection: Connection, namespace: Namespace, fingerprints: Mapping[str, str]) -> None:
    """Raises: `UsageError` if source, configuration or mappings have changed since the migration began.

    The embedding provider may change. The stage `embed` checks that vectors of two models are not mixed.
    """
    latest = journal.latest_run(connection, namespace) if has_records(connection, namespace) else None
    known = latest[2] if latest else fingerprints
    changed = [name for name, value in fingerprints.items() if name != "embedding" and known.get(name) != value]
    if changed:
        raise UsageError(
            f"changed since the migration in this target began: {', '.join(changed)}",
            hint="Restore the previous state to resume, or run `migrate revert` first and then `migrate run`.",
        )
