"""Finds cycles among rows that name a parent. Pure computation, without the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Edge = tuple[bytes, bytes | None, Any]  # (ID, ID of the parent, order)


def find_cycle_heads(edges: list[Edge]) -> list[bytes]:
    """Return the oldest row (by order, then ID) of every cycle. Every row has at most one parent."""
    parents = {row_id: parent for row_id, parent, _ in edges}
    order = {row_id: (rank, row_id) for row_id, _, rank in edges}
    seen: dict[bytes, int] = {}
    heads = []
    for number, start in enumerate(parents):
        row_id: bytes | None = start
        while row_id in parents and row_id not in seen:
            seen[row_id] = number
            row_id = parents[row_id]
        if row_id is not None and seen.get(row_id) == number:
            heads.append(min(_cycle(parents, row_id), key=lambda each: order[each]))
    return heads


def _cycle(parents: Mapping[bytes, bytes | None], start: bytes) -> Iterator[bytes]:
    row_id: bytes | None = start
    while row_id is not None:
        yield row_id
        row_id = parents[row_id]
        if row_id == start:
            return
