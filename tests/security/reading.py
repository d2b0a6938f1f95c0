"""Reads a dump as every command does, whatever it holds: each in a process with little memory, or many in one.

`python -m tests.security.reading MEGABYTES --paths` reads the dumps whose paths come on standard input, each in a fork
of its own, and answers each with one line of JSON; `… MEGABYTES --seeds FROM TO` reads mutations, made in this process.
The memory is what may be taken in addition to what Python and its modules take. What ends otherwise than in success or
in an error with a remedy is a traceback, and exit code 1.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bson.errors import InvalidBSON

from migrator.documents import raw_bson
from migrator.documents.codec import decode_untrusted, format_id, is_faithful
from migrator.documents.field_counts import LONGEST_PATH, MOST_COUNTED, FieldCounter
from migrator.errors import MigrateError
from migrator.execution.tasks import BATCH_BYTES
from migrator.sources import open_source
from migrator.sources.base import Batch, Source
from migrator.translation.translator import archive_batch
from tests.security.mutating import mutate

ROWS = 5000
PATIENCE = 20  # seconds of CPU time for one dump


def read_everything(path: Path) -> str:
    """What came of it: 'read N documents', or the error's name and text."""
    try:
        source = open_source(f"dump:{path}")
        source.fingerprint()
        names = [each.name for each in source.collections()]
        count = sum(map(digest, source.read(dict.fromkeys(names, ""), documents=ROWS, size=BATCH_BYTES)))
        assert count == sum(map(digest, read_parts(source, names)))
    except MigrateError as error:
        if error.exit_code not in (2, 7) or not error.message:
            raise RuntimeError("an error that says too little") from error
        return f"{type(error).__name__}: {error}"
    return f"read {count} documents"


def read_parts(source: Source, names: list[str]) -> Iterator[Batch]:
    """The same documents as workers read them."""
    for name in names:
        parts = source.split(name, 3000)
        for part in parts if parts is not None else ():
            yield from source.read_partition(part, part.start, documents=ROWS, size=BATCH_BYTES)
        if parts is None:
            yield from source.read({name: ""}, documents=ROWS, size=BATCH_BYTES)


def digest(batch: Batch) -> int:
    """What plan, load and verify do with a batch before any of it reaches the target."""
    archive_batch(batch.collection, batch.data)
    FieldCounter(MOST_COUNTED, LONGEST_PATH).observe(batch.data)
    for raw in set(raw_bson.split_documents(batch.data)):  # equal ones come to the same
        format_id(raw_bson.source_id(raw))
        try:
            document = decode_untrusted(raw)
        except InvalidBSON:
            continue
        is_faithful(document, raw)
    return batch.count


@contextmanager
def patience() -> Iterator[None]:
    def give_up(signum: int, frame: object) -> None:
        raise TimeoutError(f"not done after {PATIENCE} s of CPU time")

    signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def limit_memory(megabytes: int) -> None:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (megabytes << 20),) * 2)


def read_each(megabytes: int) -> None:
    """Answers every path on standard input with the exit code and the output of a fork that reads it."""
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as output:
            pid = os.fork()
            if pid == 0:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                limit_memory(megabytes)
                print(read_everything(Path(line.rstrip("\n"))))
                return
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            output.seek(0)
            print(json.dumps({"code": code, "output": output.read()}), flush=True)


def main() -> None:
    if sys.argv[2] == "--paths":
        read_each(int(sys.argv[1]))
        return
    limit_memory(int(sys.argv[1]))
    told: dict[str, int] = {}
    for seed in range(*map(int, sys.argv[3:5])):
        with tempfile.TemporaryDirectory(prefix="migrate-fuzz-") as folder, patience():
            try:
                outcome = read_everything(mutate(seed, Path(folder)))
            except BaseException:
                print(f"seed {seed}", file=sys.stderr)
                raise
            kind = outcome.partition(" ")[0]
            told[kind] = told.get(kind, 0) + 1
    print(told)


if __name__ == "__main__":
    main()
