"""How much memory a worker process asks the system for again and again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from migrator.execution import memory
if sys.argv[1] == "keep":
    memory.keep_freed_memory()
else:
    memory.lower_mmap_threshold()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    batch = b"x" * (8 << 20), [b"x" * (700 + number % 2) for number in range(5000)]
    del batch
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_a_worker_uses_the_memory_of_a_batch_again_for_the_next() -> None:
    """20 batches of 11 MB take hardly more pages than one."""
    pages = {
        name: int(subprocess.run([sys.executable, "-c", FAULTS, name], capture_output=True, check=True).stdout)
        for name in ("keep", "return")
    }
    assert pages["keep"] < 6000  # one batch has 2,900
    assert pages["return"] > 30_000
