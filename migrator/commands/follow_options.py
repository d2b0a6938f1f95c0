"""The options of `follow` that `run --follow` has, too. `run` imports them without what follows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from migrator.errors import UsageError
from migrator.workflows.run_options import FollowOptions

UntilCaughtUp = Annotated[
    bool, typer.Option("--until-caught-up", help="Stop when all changes up to the start of this command are applied.")
]
StopAt = Annotated[str, typer.Option("--stop-at", help="Stop at this time (ISO 8601, such as 2026-11-28T23:00Z).")]


def read_options(until_caught_up: bool, stop_at: str) -> FollowOptions:
    """Returns the options of the command line. Raises: `UsageError` for a time that cannot be read."""
    moment = None
    if stop_at:
        try:
            moment = datetime.fromisoformat(stop_at)
        except ValueError as error:
            raise UsageError(
                f"--stop-at: {stop_at!r} is not a time", hint="Use ISO 8601, such as 2026-11-28T23:00Z."
            ) from error
        moment = moment.astimezone(UTC)  # without a zone: local time
    return FollowOptions(until_caught_up=until_caught_up, stop_at=moment)
