"""The value of `policies.max_rejected`: a number of documents, or a percentage of the documents of the source."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(r"(\d+)|(\d+(?:\.\d+)?) ?%")


@dataclass(frozen=True, slots=True)
class RejectLimit:
    """The most documents that may be rejected: a number, or a share from 0 to 100. `text`: as configured."""

    text: str
    count: int | None
    percent: float = 100.0

    def is_exceeded(self, rejected: int, documents: int) -> bool:
        """Returns whether more documents are rejected than the limit allows; `documents` is their total."""
        if self.count is not None:
            return rejected > self.count
        return rejected * 100 > documents * self.percent


def parse_reject_limit(value: int | str) -> RejectLimit:
    """Returns the limit for a configured value: 10, "10" or "2%". Raises: `ValueError` for any other value."""
    found = _PATTERN.fullmatch(str(value).strip())
    if found is None or isinstance(value, bool):
        raise ValueError(_EXPECTED)
    if found[1] is not None:
        return RejectLimit(found[0], int(found[1]))
    if float(found[2]) > 100:
        raise ValueError(_EXPECTED)
    return RejectLimit(found[0], None, float(found[2]))


_EXPECTED = 'must be a number of documents, or a percentage such as "2%"'
