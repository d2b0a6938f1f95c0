"""Workers that start while their parent ends print nothing; other errors are printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from migrator.execution.pool import ProcessPool

class Gone:
    def __reduce__(self):
        return eval, (f"(_ for _ in ()).throw({sys.argv[1]}())",)

if __name__ == "__main__":
    process = ProcessPool(2, None)._context().Process(target=print, args=(Gone(),))
    process.start()
    process.join()
"""


@pytest.mark.parametrize(("error", "is_printed"), [("FileNotFoundError", False), ("ZeroDivisionError", True)])
def test_a_worker_without_a_parent_is_quiet(error: str, *, is_printed: bool, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ended = subprocess.run([sys.executable, program, error], capture_output=True, text=True, check=True)
    assert (error in ended.stderr) == is_printed, ended.stderr
