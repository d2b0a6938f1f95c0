from collections.abc import Callable, Sequence
from typing import Any

from migrator.mapping.context import Context

class ElementCutter:
    wanted: list[set[bytes]]
    def __init__(
        self,
        *,
        table: str,
        shape: str,
        path: str,
        values: bool,
        keyed: bool,
        position_size: int,
        columns: Sequence[int],
        rules: Sequence[tuple[int, str, bool, int, Any, ElementCutter | None]],
        by_rule: Callable[[int, str, int, bytes, Any, Context], tuple[list[tuple[str, bytes]], bytes | None]],
        encode_parent: Callable[[Any], bytes],
        absent: object,
        unfit: object,
        unset: object,
        changed: object,
        earliest: int,
        latest: int,
        shift: int,
    ) -> None: ...
    def cut(self, data: bytes, place: Any, parent: Any, context: Context, tuples: list[tuple[str, bytes]]) -> Any: ...
    def gather(self, data: bytes, places: list[Any]) -> None: ...

RULE_TYPES: dict[str, int]

def sha1_of(message: bytes, portable: bool) -> bytes: ...
