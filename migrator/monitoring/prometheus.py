"""The status of following a source as a text file for Prometheus' node exporter (textfile collector)."""

from __future__ import annotations

import os
from pathlib import Path

from migrator.errors import UsageError
from migrator.monitoring.sync_status import SyncStatus

# Name → type, help. The names are a contract: dashboards use them.
_METRICS = {
    "migrate_received_events_total": ("counter", "Events received from the source."),
    "migrate_applied_documents_total": ("counter", "Changed documents applied to the target."),
    "migrate_dirty_documents": ("gauge", "Changed documents not applied yet."),
    "migrate_marked_collections": ("gauge", "Collections to compare as a whole."),
    "migrate_receive_lag_seconds": ("gauge", "Age of the newest source state that was received completely."),
    "migrate_apply_lag_seconds": ("gauge", "Age of the oldest received change that is not applied."),
    "migrate_oplog_window_left_seconds": ("gauge", "Time until the source deletes events that are needed."),
    "migrate_receiver_heartbeat_age_seconds": ("gauge", "Time since the last heartbeat of the receiver."),
    "migrate_receiver_waiting": ("gauge", "1 while the receiver waits for the source or the target."),
    "migrate_status_timestamp_seconds": ("gauge", "When these values were read."),
}


def format_metrics(status: SyncStatus) -> str:
    """Return a status in the text format of Prometheus. Unknown values are left out."""
    values = (
        status.received,
        status.applied,
        status.dirty,
        status.marked,
        status.receive_lag,
        status.apply_lag,
        status.window_left,
        status.receiver_age,
        int(status.receiver_waiting is not None),
        status.at.timestamp(),
    )
    lines: list[str] = []
    for (name, (kind, text)), value in zip(_METRICS.items(), values, strict=True):
        if value is not None:
            shown = str(value) if isinstance(value, int) else f"{value:.3f}"
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {shown}"]
    return "\n".join(lines) + "\n"


def write_metrics(path: Path, status: SyncStatus) -> None:
    """Replace a file by the metrics of a status. A reader sees the old file or the new one, never a part.

    Raises: `UsageError` if the file cannot be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(format_metrics(status), encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write the metrics to {path}: {error.strerror or error}",
            "Name a file in an existing folder that this user may write to.",
        ) from error
