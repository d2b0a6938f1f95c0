from collections.abc import Iterable
from typing import Any

class Profiler:
    def __init__(
        self,
        exact: Iterable[tuple[str, ...]],
        *,
        most_nodes: int,
        most_children: int,
        most_values: int,
        most_keys: int,
        most_slots: int,
    ) -> None: ...
    @property
    def documents(self) -> int: ...
    @property
    def damaged(self) -> int: ...
    @property
    def left(self) -> int: ...
    def observe(self, data: bytes) -> None: ...
    def nodes(self) -> list[dict[str, Any]]: ...
