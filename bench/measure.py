"""Measurements: every step of the loader over the same batches, interleaved, so that a busy machine meets all alike."""

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

from bench.residues import Weights, weigh
from bench.stage import Scene
from migrator.documents.codec import CODEC_OPTIONS, Document
from migrator.postgres.copy import copy
from migrator.rows.lookup import RowLookup
from migrator.translation.encoder import Output
from migrator.translation.interpreter import Translation
from migrator.translation.translator import Translator

COLLECTION = "messages"
AT_ONCE = 64 << 20
INTERPRETED = 10  # the interpreter gets every tenth document


@dataclass(slots=True)
class Figures:
    """Microseconds a document of each step, one value a repetition."""

    documents: int
    size: float
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wall: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    weights: dict[str, Weights] = field(default_factory=dict)

    def median(self, step: str) -> float:
        return statistics.median(self.cpu[step])

    def ratio(self, one: str, other: str) -> float:
        """The median of ratios of the same repetition."""
        return statistics.median(a / b for a, b in zip(self.cpu[one], self.cpu[other], strict=True))


class Watch:
    """Adds up the time that steps take in one repetition."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)

    def time(self, step: str, action: Callable[[], Any], times: float = 1.0) -> Any:
        """Does something and notes how long it took, `times` over."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        self.cpu[step] += (time.process_time() - cpu) * times
        self.wall[step] += (time.perf_counter() - wall) * times
        return result


def measure(scene: Scene, repetitions: int) -> Figures:
    """All figures. The garbage collector is off, as it is while loading, but for the step that says so."""
    counts = [len(bson.decode_all(batch)) for batch in scene.batches]
    documents = sum(counts)
    figures = Figures(documents, sum(map(len, scene.batches)) / documents)
    translator = Translator(scene.definition.mappings[COLLECTION], scene.options, scene.resolver())
    mappings = scene.definition.mappings
    figures.weights = {name: weigh(scene.connection, mappings[name]) for name in (COLLECTION, "conversations")}
    for _ in range(repetitions):
        watch = Watch()
        with_collector(scene, watch)
        without_collector(scene, translator, watch)
        scene.connection.execute("TRUNCATE bench.messages, bench.ledger")
        for step in watch.cpu:
            figures.cpu[step].append(watch.cpu[step] / documents * 1e6)
            figures.wall[step].append(watch.wall[step] / documents * 1e6)
    return figures


def with_collector(scene: Scene, watch: Watch) -> None:
    """`bson.decode_all` as a script calls it: by batches, and once for all documents (or the first `AT_ONCE` bytes)."""
    gc.enable()
    for batch in scene.batches:
        watch.time("decode_all, collector on", partial(bson.decode_all, batch))
    together = b"".join(takewhile_bytes(scene.batches, AT_ONCE))
    share = sum(map(len, scene.batches)) / len(together)
    watch.time("decode_all, all at once", partial(bson.decode_all, together), share)


def takewhile_bytes(batches: list[bytes], most: int) -> list[bytes]:
    """The first batches, as many as fit; one at least."""
    ends = accumulate(map(len, batches))
    return [batch for number, (batch, end) in enumerate(zip(batches, ends, strict=True)) if end <= most or not number]


def without_collector(scene: Scene, translator: Translator, watch: Watch) -> None:
    """Every step over every batch; nothing but the resolver's cache outlives a batch, as in a run."""
    gc.collect()
    gc.disable()
    resolver = scene.resolver()
    try:
        for batch in scene.batches:
            measure_batch(scene, translator, batch, watch, resolver)
    finally:
        gc.enable()


def measure_batch(scene: Scene, translator: Translator, batch: bytes, watch: Watch, resolver: RowLookup) -> None:
    collection, output = translator.collection, Output()
    watch.time("decode_all", partial(bson.decode_all, batch))
    documents = watch.time("decode_all, our options", partial(bson.decode_all, batch, CODEC_OPTIONS))
    compiled = translator.compiled
    cuts = watch.time("cut", partial(translator.cutter.cut, batch, 0, len(documents)))
    asking = watch.time("lookups", partial(compiled.asking, cuts))
    references = watch.time("lookups", partial(resolver.references, collection, asking))
    translation = Translation(collection, scene.options, references)
    slow = watch.time("compiled", partial(compiled.fast, cuts, translation, output))
    if slow:
        raise AssertionError(f"{len(slow)} documents of a batch were left to the interpreter")
    some = documents[::INTERPRETED]
    watch.time("interpreted", partial(interpret, translation, some), len(documents) / len(some))
    documents.clear()
    watch.time("the whole translator", partial(translator.translate, batch))
    watch.time("COPY", partial(copy_output, scene, output, translator.encoder.columns))


def interpret(translation: Translation, documents: list[Document]) -> None:
    for document in documents:
        translation.translate(document)


def copy_output(scene: Scene, output: Output, columns: list[str]) -> None:
    names = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    copy(scene.connection, sql.SQL("bench.messages"), output.rows, names)
    copy(scene.connection, sql.SQL("bench.ledger"), output.ledger)
