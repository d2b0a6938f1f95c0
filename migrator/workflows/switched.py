"""What commands refuse after the application has been switched to the target: its rows are the truth then."""

from __future__ import annotations

from migrator.errors import UsageError
from migrator.state import sync
from migrator.state.records import Connection, Namespace, has_records

_HINTS = {
    sync.SWITCHED: "`migrate follow` brings its changes back to MongoDB, `migrate cutover --back` switches back.",
    sync.COMPLETE: "The migration is complete.",
}


def refuse_switched(connection: Connection, namespace: Namespace, command: str) -> None:
    """Raises: `UsageError` if the application uses the target."""
    state = sync.read_state(connection, namespace) if has_records(connection, namespace) else None
    if state in _HINTS:
        raise UsageError(
            f"the application uses PostgreSQL since its switch, so `migrate {command}` is refused", hint=_HINTS[state]
        )


def refuse_complete(connection: Connection, namespace: Namespace) -> None:
    """Raises: `UsageError` if the migration is complete."""
    if sync.read_state(connection, namespace) == sync.COMPLETE:
        refuse_switched(connection, namespace, "follow")
