"""The options of a dry run and of following. A command knows them before it imports what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

Where = Literal["embedded", "target"]
WHERES: tuple[Where, ...] = ("embedded", "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """When to stop (default: never), and whether a large deletion is applied without asking.

    `metrics`: a text file for Prometheus that is replaced every second. `stopped`: also stop when it returns true.
    """

    until_caught_up: bool = False
    stop_at: datetime | None = None
    accept_drop: bool = False
    metrics: Path | None = None
    stopped: Callable[[], bool] | None = None
