"""Whether the row of the adopter will exist, found before anything is written.

A run needs this row only after its collection is loaded. The check reads documents of the source until it has found the
one; the target is asked first, which suffices when a run resumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from bson.errors import InvalidBSON
from psycopg import sql

from migrator.documents import raw_bson
from migrator.documents.codec import decode_untrusted
from migrator.mapping.collection import Collection
from migrator.mapping.context import Match
from migrator.postgres.server_checks import Problem
from migrator.postgres.table_names import name_of
from migrator.state.tenant import Options, own_rows
from migrator.targets.base import Target
from migrator.translation.interpreter import Translation
from migrator.translation.outcomes import Loaded
from migrator.workflows.migration import MigrationContext

BATCH_DOCUMENTS, BATCH_BYTES = 1000, 4 << 20


def check_adopter(context: MigrationContext, target: Target | None) -> Iterator[Problem]:
    """Yield a blocker if no row of the target and no document of the source has the value that the adopter must have.

    Raises: `SourceError` if the source cannot be read.
    """
    adopter = context.definition.adopter
    value = None if adopter is None else adopter.value(context.config)
    if adopter is None or value is None:
        return
    search = _Search(context, context.definition.mappings[adopter.collection], adopter.column, value)
    if (target is not None and search.is_in_target(target)) or search.is_in_source():
        return
    text, remedy = adopter.describe_missing(value)
    yield Problem(level="blocker", text=f"{text} is in the source or in the target", remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Search:
    """The search of a row by a value of a column."""

    context: MigrationContext
    mapping: Collection
    column: str
    value: str

    def is_in_target(self, target: Target) -> bool:
        table = self.context.namespace.table(name_of(self.mapping.table))
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} t WHERE {} = %s AND {})").format(
            table, sql.Identifier(self.column), own_rows(self.mapping.table, self.context.config.tenant.id)
        )
        with closing(target.connect()) as connection:
            name = table.as_string(connection)
            if connection.execute("SELECT to_regclass(%s) IS NULL", (name,)).fetchone() == (True,):
                return False
            return connection.execute(query, (self.value,)).fetchone() == (True,)

    def is_in_source(self) -> bool:
        """Return whether a document that becomes a row has the value. Documents are translated without lookups."""
        context, mapping = self.context, self.mapping
        if mapping.name not in {each.name for each in context.source.collections()}:
            return False
        nothing = {lookup.name: dict[object, tuple[Match, ...]]() for lookup in mapping.lookups}
        translation = Translation(mapping, Options(context.config, context.config.tenant.id), nothing)
        for batch in context.source.read({mapping.name: ""}, documents=BATCH_DOCUMENTS, size=BATCH_BYTES):
            for raw in raw_bson.split_documents(batch.data):
                try:
                    result, _ = translation.translate(decode_untrusted(raw))
                except InvalidBSON:
                    continue
                if isinstance(result, Loaded) and result.row.get(self.column) == self.value:
                    return True
        return False
