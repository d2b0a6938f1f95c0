"""All check codes of `verify`: the title that users see, what the check proves, and what to do if it fails.

Scripts use the codes, so a code never changes. Titles, meanings and remedies may change. The reference page of the
documentation is generated from this table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCode:
    """Documentation of one check code. `level` is the lowest level of `verify` that runs the check."""

    title: str
    level: str
    meaning: str
    remedy: str


def _counts(title: str, meaning: str, remedy: str) -> CheckCode:
    return CheckCode(title=title, level="counts", meaning=meaning, remedy=remedy)


def _rows(title: str, meaning: str, remedy: str) -> CheckCode:
    return CheckCode(title=title, level="rows", meaning=meaning, remedy=remedy)


_EDITED = "Records were changed by hand. Restore schema `migrator` from a backup, or revert and run again."
_CAUSE = "Each difference names the likely cause. See `rows`."
_NO_CREATEROLE = " The check is skipped if the role lacks CREATEROLE."

CHECKS: dict[str, CheckCode] = {
    "accounting": _counts(
        "accounting",
        "For each collection: documents in the source = loaded + rejected + archived.",
        "If the source changed after the run, revert and run again, or verify with the dump of the run. Otherwise"
        " report it.",
    ),
    "journal": _counts(
        "journal", "The batches in the journal cover every document, and every partition was read to its end.", _EDITED
    ),
    "rejects kept": _counts(
        "reject records", "Every rejected document in the ledger has one record in `migrator.rejects`.", _EDITED
    ),
    "archive kept": _counts(
        "archive records", "Every archived document in the ledger has one record in `migrator.archive`.", _EDITED
    ),
    "catalog: extensions": _counts(
        "catalog: extensions", "The required extensions are installed.", "Create the missing extension."
    ),
    "catalog: enums": _counts(
        "catalog: enums",
        "Enum types and their values match the definition.",
        "Undo the change of the type, or change the schema package and migrate again.",
    ),
    "catalog: domains": _counts(
        "catalog: domains",
        "Domains and their checks match the definition.",
        "Undo the change of the domain, or change the schema package and migrate again.",
    ),
    "catalog: tables": _counts(
        "catalog: tables",
        "Tables match the definition.",
        "Create the missing table with the output of `migrate schema`. Its rows need a new run.",
    ),
    "catalog: columns": _counts(
        "catalog: columns",
        "Columns, types, defaults, nullability and order match the definition.",
        "Undo the change. The difference shows both definitions.",
    ),
    "catalog: constraints": _counts(
        "catalog: constraints",
        "Primary keys, unique constraints, check constraints and foreign keys match the definition.",
        "Create the missing constraint with the output of `migrate schema`.",
    ),
    "catalog: indexes": _counts(
        "catalog: indexes",
        "Indexes match the definition and are valid.",
        "Create the missing index with the output of `migrate schema`. Run `REINDEX` on an invalid one.",
    ),
    "catalog: policies": _counts(
        "catalog: policies",
        "Row-level-security policies match the definition.",
        "Create the policy again with the output of `migrate schema`.",
    ),
    "catalog: row security": _counts(
        "catalog: row-level security",
        "Row-level-security settings of each table match the definition.",
        "Apply the ALTER TABLE statements from the output of `migrate schema`.",
    ),
    "catalog: rights and other objects": _counts(
        "catalog: privileges and other objects",
        "Privileges, owners, triggers, sequences and undeclared objects are the same as at the end of the run.",
        "Undo the change, or accept it if it is intended (for example a GRANT).",
    ),
    "rows exist": _counts(
        "row counts",
        "Every loaded document has a row of the configured tenant, and no row was added to the tenant after the run"
        " began.",
        "If the application inserted or deleted rows after the run, no action is needed. Otherwise report it.",
    ),
    "ids": _counts(
        "ID mapping",
        "Every UUID that is derived from an ObjectId is the UUID of that ObjectId, and converts back; a row that the"
        " application created has the ID that `given_ids` records.",
        "An ID was changed in the target. Restore it.",
    ),
    "foreign key": _counts(
        "foreign keys",
        "Every reference leads to an existing row, even if the constraint is missing.",
        "Restore the row that is missing in the target.",
    ),
    "tenant": _counts(
        "tenant isolation", "No row refers to a row of another tenant.", "Correct `tenant_id` of the row."
    ),
    "tree: parents": _counts(
        "parent rows",
        "A parent belongs to the same group as its child and is not the child itself.",
        "Correct the parent ID of the row.",
    ),
    "tree: rings": _counts(
        "parent cycles", "No row is its own ancestor.", "Set the parent ID of one row in the cycle to NULL."
    ),
    "tree: roots": _counts(
        "root messages",
        "Every group that has rows has at least one root row.",
        "Set the parent ID of the oldest row in the group to NULL.",
    ),
    "row security": _counts(
        "row-level security",
        "A role without other privileges sees no rows without a tenant, and only the tenant's own rows with one.",
        "Check the policies and `ENABLE ROW LEVEL SECURITY`." + _NO_CREATEROLE,
    ),
    "vectors": _counts("embeddings: presence", "Every row with text has a vector.", "Run `migrate embed`."),
    "vectors: norm": _counts(
        "embeddings: norm",
        "No vector is zero, and every vector has the dimensions of its column.",
        "Set the vector to NULL, then run `migrate embed`.",
    ),
    "vectors: text": _counts(
        "embeddings: text",
        "Every vector was computed from the current text of its row.",
        "The text or the vector was changed after the run. Set the vector to NULL, then run `migrate embed`.",
    ),
    "vectors: again": _counts(
        "embeddings: re-embedding",
        "A sample of texts, embedded again, gives the same vectors (`--re-embed N`; always with the local model).",
        "The service changed its model. Embed all texts with one model.",
    ),
    "vectors: search": _counts(
        "embeddings: search",
        "An index search for a row's own vector finds the row.",
        "Run `REINDEX` on the vector index.",
    ),
    "vectors: tenant": _counts(
        "embeddings: tenant isolation",
        "A similarity search returns rows of the current tenant only.",
        "Check the policies." + _NO_CREATEROLE,
    ),
    "rows": _rows(
        "rows",
        "Every row equals the row that the mapping makes from the source now.",
        "Each difference names the likely cause. Source: revert and run again. Target: restore the row, or accept the"
        " change. Mapping: use the mapping version of the run, or revert and run again.",
    ),
    "vectors: source": _rows(
        "embeddings: source",
        "Every vector that was loaded from the source equals the vector in the source.",
        "The difference names the likely cause. Revert and run again, or restore the vector in the target.",
    ),
    "ledger": _rows("ledger", "Ledger entries and residues equal those that a run would write now.", _CAUSE),
    "rejects": _rows("rejects", "Rejected documents and reasons equal those that a run would write now.", _CAUSE),
    "archive": _rows("archive", "Archived documents equal those that a run would write now.", _CAUSE),
    "findings": _rows("findings", "Findings equal those that a run would write now.", _CAUSE),
    "aliases": _rows("ID aliases", "Resolved ID conflicts equal those that a run would record now.", _CAUSE),
    "links": _rows("member lists", "Stored lists of IDs equal those that a run would record now.", _CAUSE),
    "metadata": _rows("metadata", "Collection metadata equals that of the source.", _CAUSE),
    "round trip": CheckCode(
        title="round trip",
        level="roundtrip",
        meaning="Every source document can be rebuilt from PostgreSQL alone, without a difference.",
        remedy=_CAUSE,
    ),
}


def title_of(code: str) -> str:
    """Return the title of a check. An unknown code (from the JSON of another version) is its own title."""
    return CHECKS[code].title if code in CHECKS else code
