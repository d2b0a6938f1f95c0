"""Compares the documents that changed since the last full verification, while the application writes and after it.

A document that is the same on both sides is done until it changes again. So what is left when the writes have been
stopped is what changed in the last moments.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from migrator.documents.codec import format_id
from migrator.errors import DifferenceError
from migrator.following.batch import DocumentKey
from migrator.following.source_watch import SourceWatch
from migrator.formatting import format_count
from migrator.sources.base import ChangingSource
from migrator.sources.shared import name_keys
from migrator.sources.write_block import ServerWrites
from migrator.verification import round_trip
from migrator.verification.model import EXAMPLES, Difference, Scope
from migrator.workflows.verify_changes import by_collection

KEYS_AT_ONCE = 200
FEW = 300  # documents that may be left when the writes are stopped
CATCH_UP_SECONDS = 20.0  # without progress, after which the writes are stopped although more are left
PERSISTENT_SECONDS = 10.0  # after which a difference is not a change that is to be applied
_PAUSE_SECONDS = 0.1


@dataclass(kw_only=True)
class Recheck:
    """`keeps`: whether documents of a collection are kept in the target.

    `is_back`: the application uses the target. A document belongs to the mapping that has its row then: a changed row
    may give a document that another mapping takes after the switch back.
    """

    scope: Scope
    source: ChangingSource
    watch: SourceWatch
    keeps: Callable[[str], bool]
    is_back: bool = False
    compared: int = 0
    _different: dict[DocumentKey, Difference] = field(default_factory=dict)
    _since: dict[DocumentKey, float] = field(default_factory=dict)  # when a different document was found first

    def catch_up(self, now: int, check: Callable[[], None]) -> int:
        """Compare what changed until `now` (a cluster time) and later, until few documents are left; return how many.

        A document that differs may just not be applied yet. Those that differ when the present is reached must have
        become equal, or have changed again, before this returns. `check` is called again and again.

        Raises: `DifferenceError` if one does not.
        """
        is_present, suspects = False, dict[DocumentKey, float]()
        least, since = None, time.monotonic()  # type: tuple[int | None, float]
        while True:
            check()
            is_end = self.watch.read(0)
            self._compare_some()
            if not is_present and (is_end or self.watch.newest >= now) and not self.watch.changed:
                is_present, suspects = True, dict(self._since)
            suspects = {key: began for key, began in suspects.items() if self._since.get(key) == began}
            left = len(self.watch.changed) + len(self._different)
            if is_present and left <= FEW and not suspects:
                return left
            if least is None or left < least:
                least, since = left, time.monotonic()
            waited = time.monotonic() - since
            if suspects and time.monotonic() - min(suspects.values()) > PERSISTENT_SECONDS:
                refuse(self._different[key] for key in suspects)
            if waited > CATCH_UP_SECONDS and not suspects:
                return left

    def finish(self, check: Callable[[], None]) -> str:
        """Compare all documents that are left, after all changes were applied, and return a summary.

        Raises: `DifferenceError` with the first differences.
        """
        for key in self._different:
            self.watch.changed[key] = None
        left = len(self.watch.changed)
        while self.watch.changed:
            check()
            self._compare(self.watch.take(KEYS_AT_ONCE))
        if self._different:
            refuse(self._different.values())
        return f"{format_count(left, 'documents')} compared"

    def _compare_some(self) -> None:
        """Compare documents that changed, and those that differed before."""
        changed = sorted(self._named(self.watch.take(KEYS_AT_ONCE)))
        for key in changed:
            self._since.pop(key, None)  # whatever was different has changed again
        if not changed:
            time.sleep(_PAUSE_SECONDS)
        self._compare([*changed, *list(self._different)[:KEYS_AT_ONCE]])

    def _compare(self, chosen: Iterable[DocumentKey]) -> None:
        keys = {key for key in self._named(chosen) if self.keeps(key[0])}
        self.compared += len(keys)
        found = {key: difference for name, sids in by_collection(keys) for key, difference in self._find(name, sids)}
        for key in keys:
            if key in found:
                self._different[key] = found[key]
                self._since.setdefault(key, time.monotonic())
            else:
                self._different.pop(key, None)
                self._since.pop(key, None)

    def _named(self, keys: Iterable[DocumentKey]) -> set[DocumentKey]:
        """Return documents by all names that they can have in mappings, or by that of the mapping with their row."""
        named = name_keys(self.source, keys)
        if not self.is_back:
            return named
        query = self.scope.namespace.sql(
            "SELECT l.collection, l.source_id FROM {ledger} l JOIN unnest(%s::text[], %b::bytea[]) AS k (name, id)"
            " ON l.collection = k.name AND l.source_id = k.id"
        )
        columns = ([name for name, _ in named], [source_id for _, source_id in named])
        held = {(name, bytes(sid)) for name, sid in self.scope.connection.execute(query, columns, binary=True)}
        known = {(self._real(name), source_id) for name, source_id in held}
        return held | {key for key in named if (self._real(key[0]), key[1]) not in known}

    def _real(self, name: str) -> str:
        return real_name(self.scope, name)

    def _find(self, name: str, source_ids: list[bytes]) -> Iterator[tuple[DocumentKey, Difference]]:
        there = self.source.find_documents(self._real(name) if self.is_back else name, source_ids)
        for source_id, difference in round_trip.find_differences(self.scope, name, list(there.items())):
            yield (name, source_id), difference
        gone = [each for each in source_ids if each not in there]
        for source_id in round_trip.rebuild_documents(self.scope, name, gone) if gone else ():
            note = "the source does not contain it any more"
            yield (name, source_id), Difference(row=f"{name} {format_id(source_id)}", note=note)


def compare_counts(scope: Scope, writes: ServerWrites, names: Iterable[str]) -> str:
    """Compare the number of documents of each collection with the ledger, and return a summary.

    Raises: `DifferenceError`.
    """
    query = scope.namespace.sql("SELECT collection, count(*) FROM {ledger} GROUP BY 1")
    recorded: Counter[str] = Counter()
    for name, count in scope.connection.execute(query):
        recorded[real_name(scope, name)] += int(count)
    estimated = writes.estimate_count(dict.fromkeys(real_name(scope, name) for name in names))
    different = []
    for name, count in estimated.items():
        exact = count if count == recorded.get(name, 0) else writes.count(name)
        if exact != recorded.get(name, 0):
            note = f"{exact:,} documents in the source, {recorded.get(name, 0):,} accounted for"
            different.append(Difference(row=name, note=note))
    if different:
        refuse(different)
    return f"{format_count(sum(estimated.values()), 'documents')} counted"


def real_name(scope: Scope, name: str) -> str:
    """Return the collection of the source that holds the documents of a mapping; any other name stays."""
    return scope.mappings[name].source_name if name in scope.mappings else name


def refuse(differences: Iterable[Difference]) -> None:
    """Raises: `DifferenceError` that lists the first differences."""
    found = list(differences)
    shown = "\n".join(f"  {each}" for each in found[:EXAMPLES])
    raise DifferenceError(
        f"the target differs from the source: {format_count(len(found), 'differences')}\n{shown}",
        hint="Find the cause with `migrate verify --level roundtrip`, then run this command again.",
        details={"differences": [each.as_json() for each in found[:EXAMPLES]]},
    )
