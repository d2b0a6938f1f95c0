"""The fingerprints of source, configuration and mappings, which must not change during a migration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from migrator.config.fingerprints import embedding_fingerprint, fingerprint, setting_fingerprints
from migrator.config.models import Config
from migrator.documents.fingerprint import hash_json
from migrator.errors import UsageError
from migrator.state import journal
from migrator.state.records import Connection, Namespace, has_records
from migrator.workflows.migration import MigrationContext

SETTINGS = "settings"  # the fingerprints of single settings, as JSON; they only give names to a changed configuration


def collect_fingerprints(context: MigrationContext) -> dict[str, str]:
    """Return name → digest of everything that a resumed run must find unchanged."""
    return {**collect_main_fingerprints(context), **context.source.auxiliary_fingerprints()}


def collect_main_fingerprints(context: MigrationContext) -> dict[str, str]:
    """Return name → digest, like `collect_fingerprints`, without the auxiliary sources."""
    return {
        "source": context.source.fingerprint(),
        "configuration": fingerprint(context.config),
        "mappings": context.definition.fingerprint,
        "embedding": embedding_fingerprint(context.config),
    }


def with_settings(fingerprints: Mapping[str, str], config: Config) -> dict[str, str]:
    """Return the fingerprints to record for a run: also those of the single settings."""
    return {**fingerprints, SETTINGS: json.dumps(setting_fingerprints(config), sort_keys=True)}


def find_changes(known: Mapping[str, str], fingerprints: Mapping[str, str], config: Config) -> list[str]:
    """Return what differs from the recorded fingerprints; a changed configuration with the names of the settings.

    The embedding provider may change. The stage `embed` checks that vectors of two models are not mixed.
    """
    changed = [name for name, value in fingerprints.items() if name != "embedding" and known.get(name) != value]
    return [describe_change(name, known, config) for name in changed]


def describe_change(name: str, known: Mapping[str, str], config: Config) -> str:
    settings = changed_settings(known, config) if name == "configuration" else []
    return f"{name} ({', '.join(settings)})" if settings else name


def changed_settings(known: Mapping[str, str], config: Config) -> list[str]:
    """Return the names of the settings that have changed since the run; none if the run did not record them."""
    if SETTINGS not in known:
        return []
    before, now = json.loads(known[SETTINGS]), setting_fingerprints(config)
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def require_unchanged(
    connection: Connection, namespace: Namespace, fingerprints: Mapping[str, str], config: Config
) -> None:
    """Raises: `UsageError` if source, configuration or mappings have changed since the migration began."""
    latest = journal.latest_run(connection, namespace) if has_records(connection, namespace) else None
    changed = find_changes(latest[2], fingerprints, config) if latest else []
    if changed:
        raise UsageError(
            f"changed since the migration in this target began: {', '.join(changed)}",
            hint="Restore the previous state to resume, or run `migrate revert` first and then `migrate run`.",
        )


def require_retryable(known: Mapping[str, str], fingerprints: Mapping[str, str], config: Config) -> None:
    """Check that no changed setting would give loaded rows other values: a retry does not load them again.

    Raises: `UsageError` with the names of such settings.
    """
    if known.get("configuration") == fingerprints["configuration"]:
        return
    changed = list(_refused_settings(known, config)) if SETTINGS in known else ["configuration"]
    if changed:
        raise UsageError(
            f"changed since the run, and the loaded rows depend on it: {', '.join(changed)}",
            hint="Restore the previous value to retry, or run `migrate revert` and then `migrate run` with the new"
            " value. Nothing was written.",
        )


def _refused_settings(known: Mapping[str, str], config: Config) -> Iterator[str]:
    before, accepted = json.loads(known[SETTINGS]), config.ACCEPTED_BY_RETRY
    for name in changed_settings(known, config):
        value = accepted.get(name)
        if name not in accepted or (value is not None and before.get(name) != hash_json(value)):
            yield name
