"""The indexes of the records that following needs in addition to those of a run."""

from __future__ import annotations

from migrator.rows.ledger_indexes import ensure_ledger_indexes
from migrator.state.records import Connection, Namespace


def ensure_indexes(connection: Connection, namespace: Namespace) -> None:
    """Create the indexes that are missing. An `_id` can be too long for a B-tree, so these are hash indexes."""
    ensure_ledger_indexes(connection, namespace)
    for statement in (
        namespace.sql("CREATE INDEX IF NOT EXISTS findings_source_idx ON {findings} USING hash (source_id)"),
        namespace.sql("CREATE INDEX IF NOT EXISTS rejects_source_idx ON {rejects} USING hash (source_id)"),
        namespace.sql("CREATE INDEX IF NOT EXISTS archive_source_idx ON {archive} USING hash (source_id)"),
        namespace.sql("CREATE INDEX IF NOT EXISTS links_lister_idx ON {links} (lister)"),
        namespace.sql("CREATE INDEX IF NOT EXISTS aliases_target_idx ON {aliases} (target)"),
    ):
        connection.execute(statement)
