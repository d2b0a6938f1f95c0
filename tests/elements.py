"""Compares the compiled translation of documents with elements with that of the interpreter."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any
from unittest.mock import patch
from zlib import crc32

from migrator.documents.codec import Document
from migrator.mapping.collection import Collection
from migrator.mapping.context import Match
from migrator.translation import translator
from migrator.translation.compiler import Compiled, compile_collection, leave_all
from migrator.translation.encoder import Output
from migrator.translation.interpreter import Listed, References
from migrator.translation.projection import Projection, SlotType
from migrator.translation.translator import Translator


class Known:
    """Finds a row for most keys."""

    def references(self, collection: Collection, documents: Iterable[Document]) -> References:
        found = list(documents)
        return {
            lookup.name: {key: (Match(key, {}),) for key in lookup.keys(found) if crc32(repr(key).encode()) % 5}
            for lookup in collection.lookups
        }

    def listed(self, collection: Collection, documents: Iterable[Document]) -> Listed:
        return {}

    def given_ids(self, collection: Collection, originals: Callable[[], Iterable[Any]]) -> Mapping[Any, Any]:
        return {}


class Remembering(Known):
    """Does so, and answers with everything that it was asked before; at times, it forgets that."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._answers: dict[tuple[str, str], dict[Any, tuple[Match, ...]]] = {}

    def references(self, collection: Collection, documents: Iterable[Document]) -> References:
        found = list(documents)
        if self._chance.random() < 0.2:
            self._answers.clear()
        for lookup in collection.lookups:
            answers = self._answers.setdefault(lookup.name, {})
            answers |= dict.fromkeys(lookup.keys(found), ()) | dict(super().references(collection, found)[lookup.name])
        return self._answers


def compare(mapping: Collection, documents: Iterable[bytes], seed: int) -> int:
    """Translate documents by compiled code, at once and in parts, and by the rules. Return how much was equal."""
    data = b"".join(documents)
    interpreted = Compiled(Projection(frozenset(), (), (("", SlotType.DOCUMENT),)), leave_all)
    expected = by_document(Translator(mapping, None, Known(), compiled=interpreted).translate(data)[0])
    for lookups, most in ((Known(), translator.MANY_DOCUMENTS), (Known(), 23), (Remembering(seed), 23)):
        with patch.object(translator, "MANY_DOCUMENTS", most):
            compiled = Translator(mapping, None, lookups, compiled=compile_collection(mapping, None)).translate(data)[0]
        assert by_document(compiled) == expected, f"seed {seed}, {type(lookups).__name__}, {most}"
    return sum(map(len, expected.values()))


def by_document(output: Output) -> dict[Any, list[Any]]:
    """Everything about each document. Compiled code comes first in an output, in any order."""
    found: dict[Any, list[Any]] = {
        index: [row, entry] for index, row, entry in zip(output.indexes, output.rows, output.ledger, strict=True)
    }
    for table, tuples in sorted(output.children.items()):
        for row, group in groupby(tuples, key=itemgetter(0)):
            found[output.indexes[row]].append((table, b"".join(data for _, data in group)))
    for index, finding in sorted(output.findings):
        found.setdefault(index, []).append(finding)
    return {**found, "rejects": sorted(output.rejects), "outcomes": sorted(output.outcomes)}
