"""Runs the shell commands of [cutover], which stop, resume and move the application."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrator.errors import StoppedError
from migrator.events import Emit, Notice

STOP: Final = "stop"
RESUME: Final = "resume"
SWITCH: Final = "switch"
_LONGEST_LINE: Final = 1000  # characters of a hook's output that are shown
_POLL_SECONDS: Final = 0.02
_OUTPUT_SECONDS: Final = 0.2  # for which the last output of a hook is waited for, while the application waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A command, and when it is called. `folder`: where it starts."""

    step: str
    command: str
    folder: Path


def run_hook(hook: Hook, variables: Mapping[str, str], seconds: float, emit: Emit) -> None:
    """Run a hook and pass its output on. It gets `variables` in addition to the environment of this process.

    Raises:
        StoppedError: it failed, or did not end within `seconds`; then it is killed with all its processes.
    """
    process = subprocess.Popen(
        hook.command,
        shell=True,
        cwd=hook.folder,
        env={**os.environ, "MIGRATE_STEP": hook.step, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that Ctrl-C reaches this process only, which decides
    )
    reader = threading.Thread(target=_pass_output, args=(process, hook.step, emit), daemon=True)
    reader.start()
    try:
        _wait(process, seconds)
    except BaseException:
        _kill(process)
        raise
    if process.returncode is None:
        _kill(process)
        raise StoppedError(
            f"the {hook.step} hook did not end within {seconds:.0f} s",
            f"Correct cutover.{hook.step}_hook, or increase cutover.hook_timeout_seconds.",
        )
    reader.join(_OUTPUT_SECONDS)  # a process that the hook left in the background may keep the output open
    if process.returncode != 0:
        raise StoppedError(
            f"the {hook.step} hook failed with exit code {process.returncode}",
            f"Its output is above and in the log file. Correct cutover.{hook.step}_hook, then run this command again.",
        )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _pass_output(process: subprocess.Popen[bytes], step: str, emit: Emit) -> None:
    assert process.stdout is not None  # a pipe
    for line in process.stdout:
        text = line.decode(errors="replace").rstrip()[:_LONGEST_LINE]
        emit(Notice(text=f"{step} hook: {text}"))
