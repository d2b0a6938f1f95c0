from collections.abc import Callable, Sequence
from typing import Any

class Cuts:
    @property
    def starts(self) -> list[int]: ...
    @property
    def tuples(self) -> list[tuple[Any, ...] | None]: ...
    @property
    def end(self) -> int: ...
    def raw(self, place: int) -> bytes: ...
    def residue(self, place: int, other: tuple[str, ...], told: bytes) -> bytes: ...

class Cutter:
    def __init__(
        self,
        given: frozenset[str],
        familiar: Sequence[str],
        slots: Sequence[tuple[str, int]],
        *,
        absent: object,
        decode: Callable[[int, bytes], Any],
        earliest: int,
        latest: int,
    ) -> None: ...
    def cut(self, data: bytes, position: int, most: int) -> Cuts: ...
