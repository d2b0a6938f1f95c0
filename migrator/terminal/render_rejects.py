"""Prints the rejected documents on a terminal, grouped by collection and reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from migrator.findings import REASONS, describe_remedy
from migrator.formatting import format_count, shorten
from migrator.state.rejects import Rejected, RejectFilter
from migrator.terminal.console import Console
from migrator.terminal.render import print_wrapped

ID_WIDTH = 60  # characters of an `_id` in a table


def show_rejects(
    console: Console, found: Sequence[Rejected], counts: Mapping[tuple[str, str], int], chosen: RejectFilter
) -> None:
    """Prints one page of rejects. `counts`: (collection, reason) → number on all pages."""
    for (collection, reason), group in groupby(found, key=lambda each: (each.collection, each.reason)):
        count = format_count(counts.get((collection, reason), 0), "documents")
        print_wrapped(console, f"{collection}, {reason}: {count}. Cause: {REASONS.get(reason, reason)}.")
        print_wrapped(console, f"  To load: {describe_remedy(reason)}; then `migrate rejects retry`.")
        console.table(
            ("id", "_id", "detail"), [(each.id, shorten(each.source_id, ID_WIDTH), each.detail) for each in group]
        )
    total = sum(counts.values())
    if not found:
        console.print(f"No documents on page {chosen.page}." if total else "No rejected documents.")
        return
    last = chosen.offset + len(found)
    more = f" Next page: --page {chosen.page + 1}" if last < total else ""
    console.print(f"{chosen.offset + 1:,} to {last:,} of {format_count(total, 'rejected documents')}.{more}")
