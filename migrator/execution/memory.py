"""Memory that goes back to the system when it is freed."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3  # malloc.h
LARGE = 1 << 20


def lower_mmap_threshold() -> None:
    """Blocks of the size of batches are not kept for later.

    For a process that reads one batch after the other, in several threads: glibc kept so much of them that it grew to
    212 MB where 157 are enough. Elsewhere nothing is changed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
