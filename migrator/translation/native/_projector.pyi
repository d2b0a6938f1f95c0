from collections.abc import Callable, Mapping, Sequence
from typing import Any

class Projections:
    @property
    def data(self) -> bytes: ...
    @property
    def offsets(self) -> list[int]: ...
    @property
    def tuples(self) -> list[tuple[Any, ...] | None]: ...
    @property
    def end(self) -> int: ...
    def raw(self, index: int) -> bytes: ...
    def residue(self, index: int, changed: tuple[str, ...], header: bytes) -> bytes: ...

class Projector:
    def __init__(
        self,
        restored: frozenset[str],
        low_cardinality: Sequence[str],
        slots: Sequence[tuple[str, int]],
        *,
        parts: Mapping[str, object],
        absent: object,
        decode: Callable[[int, bytes], Any],
        earliest: int,
        latest: int,
    ) -> None: ...
    def project(self, data: bytes, position: int, limit: int) -> Projections: ...

def objectid_to_uuid(oid: bytes, tag: int) -> bytes: ...

SLOT_TYPES: dict[str, int]
BSON_TYPES: dict[str, int]
