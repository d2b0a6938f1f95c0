"""What a live source looked like before and after the load, to notice that it was written to.

The evidence is cheap: numbers that the server knows, and the largest `_id`. It can miss a change, for example of a
server that does not count writes. Not here: how a source is measured (`sources`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.documents.codec import encode
from migrator.findings import severity_of
from migrator.sources.base import CollectionState, Source
from migrator.state import journal
from migrator.state.own_transactions import record_transaction
from migrator.state.records import Connection, Namespace

CODE = "source_changed"
BEFORE, AFTER = "source before the load", "source after the load"
_NO_DOCUMENT = encode({})  # the finding belongs to a collection


def record_before_load(connection: Connection, namespace: Namespace, run: int, source: Source) -> None:
    """Record the state of a live source, unless an earlier attempt of the run did."""
    if source.is_live and BEFORE not in journal.finished_steps(connection, namespace):
        journal.pin_setting(connection, namespace, run, BEFORE, dict(source.measure()))


def record_after_load(connection: Connection, namespace: Namespace, run: int, source: Source) -> list[str]:
    """Record the state of a live source, and a finding per collection that changed. Return these collections.

    Return an empty list if an earlier attempt of the run did it.
    """
    steps = journal.finished_steps(connection, namespace)
    if BEFORE not in steps or AFTER in steps:
        return []
    after = dict(source.measure())
    changes = dict(compare_states(journal.step_detail(connection, namespace, BEFORE), after))
    query = namespace.sql(
        "INSERT INTO {findings} (collection, code, severity, source_id, detail) VALUES (%s, %s, %s, %s, %s)"
    )
    with connection.transaction():
        record_transaction(connection, namespace)
        for name, detail in changes.items():
            connection.execute(query, (name, CODE, severity_of(CODE), _NO_DOCUMENT, detail))
        journal.finish_step(connection, namespace, run, AFTER, after)
    return sorted(changes)


def find_changes(connection: Connection, namespace: Namespace, source: Source) -> list[str]:
    """Return the collections of a live source that have changed since the load began."""
    before = journal.step_detail(connection, namespace, BEFORE) if source.is_live else None
    return sorted(name for name, _ in compare_states(before, source.measure())) if before else []


def compare_states(
    before: Mapping[str, CollectionState], after: Mapping[str, CollectionState]
) -> Iterator[tuple[str, str]]:
    """Yield the collections that changed, and how. A value that either side lacks is no evidence."""
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            yield name, "created during the load" if name in after else "dropped during the load"
            continue
        one, other = before[name], after[name]
        known = [key for key in one.keys() & other.keys() if one[key] is not None and other[key] is not None]
        changed = {key for key in known if one[key] != other[key]}
        if "process" in changed:  # another server process counts writes from zero
            changed -= {"process", "writes"}
        if "documents" in changed:
            yield name, f"{one['documents']:,} documents before the load, {other['documents']:,} after it"
        elif changed:
            yield name, "documents were written during the load"
