from collections.abc import Callable
from typing import Any

from migrator.translation.native._tuple_packer import TuplePacker

class RowWriter:
    def __init__(
        self,
        row: TuplePacker,
        ledger: TuplePacker,
        *,
        pack_header: Callable[..., bytes],
        encode: Callable[[Any], bytes],
    ) -> None: ...
    def begin(self, projections: Any, output: Any, first: int) -> Callable[..., None]: ...
