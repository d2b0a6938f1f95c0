"""Whether the user of `policies.orphan_owner` will exist, found before anything is written.

A run needs this user only after the users are loaded. The check reads users of the source until it has found the one;
the target is asked first, which suffices when a run resumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from bson.errors import InvalidBSON
from psycopg import sql

from migrator.documents import raw_bson
from migrator.documents.codec import decode_untrusted
from migrator.mapping.collection import Collection
from migrator.mapping.context import Match
from migrator.postgres.server_checks import Problem
from migrator.state.tenant import Options, own_rows
from migrator.targets.base import Target
from migrator.translation.interpreter import Translation
from migrator.translation.outcomes import Loaded
from migrator.workflows.migration import MigrationContext

BATCH_DOCUMENTS, BATCH_BYTES = 1000, 4 << 20


def check_adopter(context: MigrationContext, target: Target | None) -> Iterator[Problem]:
    """Yield a blocker if no row of the target and no document of the source has the e-mail of `policies.orphan_owner`.

    Raises: `SourceError` if the source cannot be read.
    """
    email, adopter = context.config.policies.orphan_owner, context.definition.adopter
    if email == "reject" or adopter is None:
        return
    mapping, column = context.definition.mappings[adopter[0]], adopter[1]
    if (target is not None and _is_in_target(context, target, mapping, column)) or _is_in_source(
        context, mapping, column
    ):
        return
    yield Problem(
        level="blocker",
        text=f"policies.orphan_owner: no user with the email {email} is in the source or in the target",
        remedy='Use the email of a user in the source, or set orphan_owner = "reject".',
    )


def _is_in_target(context: MigrationContext, target: Target, mapping: Collection, column: str) -> bool:
    table = context.namespace.table(mapping.table.name)
    own = own_rows(mapping.table, context.config.tenant.id)
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} t WHERE {} = %s AND {})").format(table, sql.Identifier(column), own)
    with closing(target.connect()) as connection:
        name = table.as_string(connection)
        if connection.execute("SELECT to_regclass(%s) IS NULL", (name,)).fetchone() == (True,):
            return False
        return connection.execute(query, (context.config.policies.orphan_owner,)).fetchone() == (True,)


def _is_in_source(context: MigrationContext, mapping: Collection, column: str) -> bool:
    """Return whether a document that becomes a row has the e-mail. Documents are translated without lookups."""
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
            if isinstance(result, Loaded) and result.row.get(column) == context.config.policies.orphan_owner:
                return True
    return False
