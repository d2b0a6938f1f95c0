"""Writes and removes single documents of one collection: their rows, ledger rows, findings and aliases.

Not here: which document is written and which one has to yield (`conflicts`, `rekey`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from typing import Any

from psycopg import sql

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode, is_faithful
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.postgres.session import owner_search_path
from migrator.reconciliation.order import Incumbent
from migrator.rows.admission import find_overlong
from migrator.rows.copy import copy_children, copy_records, copy_rows, delete_children, replace_rows
from migrator.rows.lookup import RowLookup
from migrator.rows.store import RowStore
from migrator.state.row_keys import key_of
from migrator.translation.compiler import Compiled
from migrator.translation.encoder import Encoder, Output, SourceDocument, format_target_id
from migrator.translation.interpreter import Translation
from migrator.translation.outcomes import Finding, Loaded, Reject, Result
from migrator.translation.translator import Translator


def format_owner(owner: Iterable[Hashable]) -> str:
    """Return an owner (`Collection.owner`) as the aliases store it."""
    return " ".join(format_target_id(part) for part in owner)


class DocumentWriter:
    """Translates documents of one collection against the present rows and writes the results.

    `contested`: IDs that were given to another document, or that a second document was found to use. A reference to
    one of them may mean another row than before.
    """

    def __init__(
        self, rows: RowStore, collection: Collection, options: Any, lookup: RowLookup, compiled: Callable[[], Compiled]
    ) -> None:
        self.rows, self.collection = rows, collection
        self.encoder = Encoder(collection)
        self.contested: set[Any] = set()
        self.options, self._lookup, self._compiled = options, lookup, compiled

    @cached_property
    def translator(self) -> Translator:
        """The compiled translator of a run."""
        return Translator(self.collection, self.options, self._lookup, compiled=self._compiled())

    def translation(self, documents: list[Document]) -> Translation:
        """Return a translation that can look up everything these documents refer to."""
        references = self._lookup.references(self.collection, documents)
        listed = self._lookup.listed(self.collection, documents)
        given_ids = self._lookup.given_ids(self.collection, lambda: map(self._id_of, documents))
        return Translation(self.collection, self.options, references, listed, given_ids=given_ids)

    def _id_of(self, document: Document) -> Any:
        return self.collection.key.uuid(document.get("_id"))

    def translate(self, raw: bytes, document: Document, row_id: Any = None) -> tuple[Result, list[Finding]]:
        """Translate a document. With `row_id`, the row gets this ID instead of the ID in the document."""
        return self.translation([document]).translate(document, row_id, self.unfaithful(document, raw))

    def unfaithful(self, document: Document, raw: bytes) -> bytes | None:
        """Return the BSON of a document that encoding it again would not reproduce; otherwise None."""
        return None if is_faithful(document, raw) else raw

    def owner_of(self, document: Document, row: Row) -> str:
        """Return the owner of a document, as text, in a collection whose mapping defines one."""
        assert self.collection.owner is not None  # called only if the mapping defines an owner
        return format_owner(self.collection.owner(document, row))

    def reject_overlong(self, raw: bytes, document: Document, result: Loaded) -> Reject | None:
        """Return the reject if a text of the row is too long for an index."""
        output = Output()
        self.encoder.add(output, SourceDocument(0, raw_bson.source_id(raw), raw, document), result)
        found = find_overlong(self.rows.connection, self.collection, output)
        return next((reject for _, reject in found), None)

    def write(
        self, raw: bytes, document: Document, result: Result, findings: list[Finding], *, replace: bool = False
    ) -> None:
        """Write the outcome of a document. With `replace`, its row overwrites the row with the same ID."""
        output = Output()
        self.encoder.add(output, SourceDocument(0, raw_bson.source_id(raw), raw, document), result)
        self.encoder.add_findings(output, 0, findings)
        connection, namespace = self.rows.connection, self.rows.namespace
        if replace:
            ids = [format_target_id(each) for each in output.ids]
            delete_children(connection, namespace, self.collection, ids)
            replace_rows(connection, namespace, self.encoder, output.rows)
        else:
            copy_rows(connection, namespace, self.encoder, output.rows)
        copy_children(connection, namespace, self.encoder, output)
        copy_records(self.rows.connection, self.rows.namespace, self.collection.name, output)

    def rekeyed(self, source_id: bytes) -> Finding:
        """Return the finding for a document whose row got another ID."""
        name, path = self.collection.name, self.collection.key.path
        return Finding(collection=name, code="rekeyed", source_id=source_id, detail=path)

    def add_aliases(self, aliases: Sequence[tuple[Any, Any, str | None]]) -> None:
        """Record that references to an ID lead to another row.

        Each alias is (ID in the documents, ID of the row, owner). With an owner, the alias is valid only for references
        from documents of this owner. Without an ID of the row, these references lead to no row.
        """
        query = self.rows.namespace.sql(
            "INSERT INTO {aliases} (collection, original_id, target, owner) VALUES (%s, %s, %s, %s)"
        )
        values = [
            (
                self.collection.name,
                format_target_id(original),
                None if target is None else format_target_id(target),
                owner,
            )
            for original, target, owner in aliases
        ]
        with self.rows.connection.cursor() as cursor:
            cursor.executemany(query, values)
        self.contested.update(original for original, _, owner in aliases if owner is not None)

    def remove(self, incumbent: Incumbent, requested_id: Any) -> None:
        """Remove the row of an incumbent and every record about it.

        The row with the ID `requested_id` is not deleted: the next `write` replaces it.
        """
        assert incumbent.source_id is not None  # only rows of this migration yield
        if incumbent.row_id == requested_id:
            self.contested.add(requested_id)
        else:
            delete_children(
                self.rows.connection, self.rows.namespace, self.collection, [format_target_id(incumbent.row_id)]
            )
            query = sql.SQL("DELETE FROM {} WHERE {}").format(
                self.rows.table(self.collection), key_of(self.collection).is_in()
            )
            with owner_search_path(self.rows.connection):
                self.rows.connection.execute(query, ([format_target_id(incumbent.row_id)],))
        self.remove_outcome(incumbent.source_id, "loaded", format_target_id(incumbent.row_id))
        self._remove_findings(incumbent)
        links, row_id = list(self.collection.link_names), format_target_id(incumbent.row_id)
        query = self.rows.namespace.sql("DELETE FROM {links} WHERE collection = ANY(%s) AND lister = %s")
        self.rows.connection.execute(query, (links, row_id))
        query = self.rows.namespace.sql("DELETE FROM {aliases} WHERE collection = %s AND target = %s")
        self.rows.connection.execute(query, (self.collection.name, row_id))

    def remove_outcome(self, source_id: bytes, outcome: str, target_id: str | None = None) -> None:
        """Delete the ledger row of one document."""
        # Exactly one row: a dump may contain an _id twice, and each copy has its own ledger row.
        query = self.rows.namespace.sql(
            "DELETE FROM {ledger} WHERE ctid = (SELECT ctid FROM {ledger} WHERE collection = %s AND source_id = %s"
            " AND outcome = %s AND target_id IS NOT DISTINCT FROM %s LIMIT 1)"
        )
        self.rows.connection.execute(query, (self.collection.name, source_id, outcome, target_id))

    def _remove_findings(self, incumbent: Incumbent) -> None:
        """Delete the findings of a document. If other documents have the same `_id`, keep theirs."""
        connection, namespace = self.rows.connection, self.rows.namespace
        values = (self.collection.name, incumbent.source_id)
        shared = namespace.sql("SELECT FROM {ledger} WHERE collection = %s AND source_id = %s LIMIT 1")
        if incumbent.raw is None or connection.execute(shared, values).fetchone() is None:
            query = namespace.sql("DELETE FROM {findings} WHERE collection = %s AND source_id = %s")
            connection.execute(query, values)
            return
        _, findings = self.translate(incumbent.raw, decode(incumbent.raw))
        one = namespace.sql(
            "DELETE FROM {findings} WHERE ctid = (SELECT ctid FROM {findings} WHERE collection = %s AND source_id = %s"
            " AND code = %s AND detail = %s LIMIT 1)"
        )
        for finding in findings:
            connection.execute(one, (*values, finding.code, finding.detail))
