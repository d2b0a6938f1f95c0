"""Measurement of the loader's steps over the same batches, alternately, so that other load affects all equally."""

from __future__ import annotations

import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any

import bson
from psycopg import sql

from bench.database import BenchDatabase
from bench.residue_sizes import ResidueSizes, measure_residues
from migrator.documents.codec import CODEC_OPTIONS, Document
from migrator.postgres.copy import copy
from migrator.rows.lookup import RowLookup
from migrator.translation.encoder import Output
from migrator.translation.interpreter import Translation
from migrator.translation.translator import Translator

COLLECTION = "messages"
MAX_BYTES = 64 << 20
INTERPRETED = 10  # the interpreter translates every tenth document


@dataclass(slots=True)
class Measurements:
    """Microseconds per document: step → one value per repetition."""

    documents: int
    size: float
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wall: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    residues: dict[str, ResidueSizes] = field(default_factory=dict)

    def median(self, step: str) -> float:
        """Return the median of a step's CPU time."""
        return statistics.median(self.cpu[step])

    def ratio(self, one: str, other: str) -> float:
        """Return the median of the ratios of each repetition."""
        return statistics.median(a / b for a, b in zip(self.cpu[one], self.cpu[other], strict=True))


class Watch:
    """Adds up the time of each step in one repetition."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)

    def time(self, step: str, action: Callable[[], Any], times: float = 1.0) -> Any:
        """Call `action`, add its time multiplied by `times`, and return its result."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        self.cpu[step] += (time.process_time() - cpu) * times
        self.wall[step] += (time.perf_counter() - wall) * times
        return result


def measure(data: BenchDatabase, repetitions: int) -> Measurements:
    """Measure all steps. Garbage collection is off, as during a load, except in the step that is named so."""
    counts = [len(bson.decode_all(batch)) for batch in data.batches]
    documents = sum(counts)
    figures = Measurements(documents, sum(map(len, data.batches)) / documents)
    translator = Translator(data.definition.mappings[COLLECTION], data.options, data.resolver())
    mappings = data.definition.mappings
    names = (COLLECTION, "conversations")
    figures.residues = {name: measure_residues(data.connection, mappings[name]) for name in names}
    for _ in range(repetitions):
        watch = Watch()
        with_collector(data, watch)
        without_collector(data, translator, watch)
        data.connection.execute("TRUNCATE bench.messages, bench.ledger")
        for step in watch.cpu:
            figures.cpu[step].append(watch.cpu[step] / documents * 1e6)
            figures.wall[step].append(watch.wall[step] / documents * 1e6)
    return figures


def with_collector(data: BenchDatabase, watch: Watch) -> None:
    """Measure `bson.decode_all` as scripts call it: per batch, and one call for all (at most `MAX_BYTES` bytes)."""
    gc.enable()
    for batch in data.batches:
        watch.time("decode_all, with gc", partial(bson.decode_all, batch))
    together = b"".join(limit_batches(data.batches, MAX_BYTES))
    share = sum(map(len, data.batches)) / len(together)
    watch.time("decode_all, one call", partial(bson.decode_all, together), share)


def limit_batches(batches: list[bytes], most: int) -> list[bytes]:
    """Return the first batches that fit into `most` bytes, at least one."""
    ends = accumulate(map(len, batches))
    return [batch for number, (batch, end) in enumerate(zip(batches, ends, strict=True)) if end <= most or not number]


def without_collector(data: BenchDatabase, translator: Translator, watch: Watch) -> None:
    """Measure every step over every batch. Only the cache of lookups outlives a batch, as in a run."""
    gc.collect()
    gc.disable()
    resolver = data.resolver()
    try:
        for batch in data.batches:
            measure_batch(data, translator, batch, watch, resolver)
    finally:
        gc.enable()


def measure_batch(data: BenchDatabase, translator: Translator, batch: bytes, watch: Watch, resolver: RowLookup) -> None:
    """Measure every step over one batch."""
    collection, output = translator.collection, Output()
    watch.time("decode_all", partial(bson.decode_all, batch))
    documents = watch.time("decode_all, our options", partial(bson.decode_all, batch, CODEC_OPTIONS))
    compiled = translator.compiled
    projections = watch.time("projection", partial(translator.projector.project, batch, 0, len(documents)))
    asking = watch.time("lookups", partial(compiled.lookup_documents, projections))
    references = watch.time("lookups", partial(resolver.references, collection, asking))
    translation = Translation(collection, data.options, references)
    slow = watch.time("compiled", partial(compiled.translate, projections, translation, output))
    if slow:
        raise AssertionError(f"{len(slow)} documents of a batch went to the interpreter")
    some = documents[::INTERPRETED]
    watch.time("interpreted", partial(interpret, translation, some), len(documents) / len(some))
    documents.clear()
    watch.time("translator", partial(translator.translate, batch))
    watch.time("COPY", partial(copy_output, data, output, translator.encoder.columns))


def interpret(translation: Translation, documents: list[Document]) -> None:
    """Translate documents with the interpreter."""
    for document in documents:
        translation.translate(document)


def copy_output(data: BenchDatabase, output: Output, columns: list[str]) -> None:
    """Copy rows and ledger rows into the tables of the benchmark."""
    names = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    copy(data.connection, sql.SQL("bench.messages"), output.rows, names)
    copy(data.connection, sql.SQL("bench.ledger"), output.ledger)
