"""All check codes of `verify`: the title that users see, what the check compares, and what to do if it fails.

Scripts use the codes, so a code never changes. Titles, meanings and remedies may change.
"""

from __future__ import annotations

from dataclasses import dataclass

_RERUN = "If the source changed after the run, revert and run again. If the target changed, restore the data."
_MAPPING = (
    "Read the likely cause of each difference. Source: revert and run again. Target: restore the rows from a backup, or"
    " accept the change. Mapping: use the mapping version of the run, or revert and run again."
)
_RECORDS = "Do not edit schema `migrator`. Restore it from a backup, or revert with --force and run again."
_SCHEMA = "Compare with the output of `migrate schema` and apply the missing DDL, or accept the change."
_REFERENCES = "Find out which client wrote the row, then correct the reference or delete the row."
_EMBEDDINGS = "Set the vector of the listed rows to NULL and run `migrate embed`."


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


CHECKS: dict[str, CheckCode] = {
    "accounting": _counts(
        "accounting", "For each collection: documents in the source = loaded + rejected + archived.", _RERUN
    ),
    "journal": _counts(
        "journal", "The batches in the journal cover every document, and every partition was read to its end.", _RERUN
    ),
    "rejects kept": _counts(
        "reject records", "Every rejected document in the ledger has one record in `migrator.rejects`.", _RECORDS
    ),
    "archive kept": _counts(
        "archive records", "Every archived document in the ledger has one record in `migrator.archive`.", _RECORDS
    ),
    "rows exist": _counts(
        "row counts",
        "Every loaded document has a row of the configured tenant, and no other row was added after the run began.",
        _MAPPING,
    ),
    "ids": _counts(
        "ID mapping",
        "Every UUID that comes from an ObjectId is the UUID of that ObjectId, and converts back.",
        _RECORDS,
    ),
    "foreign key": _counts(
        "foreign keys", "Every reference leads to an existing row, even if the constraint is missing.", _REFERENCES
    ),
    "tenant": _counts("tenant isolation", "No row refers to a row of another tenant.", _REFERENCES),
    "tree: parents": _counts(
        "parent rows", "A parent belongs to the same group as its child and is not the child itself.", _REFERENCES
    ),
    "tree: rings": _counts("parent cycles", "No row is its own ancestor.", _REFERENCES),
    "tree: roots": _counts("root messages", "Every group that has rows has at least one root row.", _REFERENCES),
    "row security": _counts(
        "row-level security",
        "A role without other privileges sees no rows without a tenant, and only its own rows with one.",
        _SCHEMA,
    ),
    "catalog: extensions": _counts("catalog: extensions", "The required extensions are installed.", _SCHEMA),
    "catalog: enums": _counts("catalog: enums", "Enum types match the definition.", _SCHEMA),
    "catalog: tables": _counts("catalog: tables", "Tables match the definition.", _SCHEMA),
    "catalog: columns": _counts("catalog: columns", "Columns match the definition.", _SCHEMA),
    "catalog: constraints": _counts("catalog: constraints", "Constraints match the definition.", _SCHEMA),
    "catalog: indexes": _counts("catalog: indexes", "Indexes match the definition and are valid.", _SCHEMA),
    "catalog: policies": _counts("catalog: policies", "Row-level-security policies match the definition.", _SCHEMA),
    "catalog: row security": _counts(
        "catalog: row-level security", "Row-level-security settings match the definition.", _SCHEMA
    ),
    "catalog: rights and other objects": _counts(
        "catalog: privileges and other objects",
        "Privileges, owners, triggers, sequences and undeclared objects are the same as at the end of the run.",
        "Apply or revoke the listed change, or accept it.",
    ),
    "vectors": _counts("embeddings: presence", "Every row with text has a vector.", "Run `migrate embed`."),
    "vectors: norm": _counts(
        "embeddings: norm", "No vector is zero, and every vector has the dimensions of its column.", _EMBEDDINGS
    ),
    "vectors: text": _counts(
        "embeddings: text", "Every vector was computed from the current text of its row.", _EMBEDDINGS
    ),
    "vectors: again": _counts(
        "embeddings: re-embedding",
        "A sample of texts, embedded again, gives the same vectors.",
        "Check [embedding] model and dimensions. If the model changed, embed all rows again.",
    ),
    "vectors: search": _counts(
        "embeddings: search",
        "An index search for a row's own vector finds the row.",
        "Run REINDEX on the vector index.",
    ),
    "vectors: tenant": _counts(
        "embeddings: tenant isolation", "A vector search returns rows of the current tenant only.", _SCHEMA
    ),
    "rows": _rows("rows", "Every row equals the row that the mapping makes from the source now.", _MAPPING),
    "ledger": _rows("ledger", "Ledger entries and residues equal those that a run would write now.", _RECORDS),
    "rejects": _rows("rejects", "Rejected documents and reasons equal those that a run would write now.", _RECORDS),
    "archive": _rows("archive", "Archived documents equal those that a run would write now.", _RECORDS),
    "findings": _rows("findings", "Findings equal those that a run would write now.", _RECORDS),
    "aliases": _rows("ID aliases", "Resolved ID conflicts equal those that a run would record now.", _RECORDS),
    "links": _rows("member lists", "Positions in member lists equal those that a run would record now.", _RECORDS),
    "metadata": _rows("metadata", "Collection metadata (indexes, options) equal those of the source.", _RECORDS),
    "round trip": CheckCode(
        title="round trip",
        level="roundtrip",
        meaning="Every source document can be rebuilt from PostgreSQL alone, without a difference.",
        remedy=_MAPPING,
    ),
}


def title_of(code: str) -> str:
    """Return the title of a check. An unknown code (from a newer version's JSON) is its own title."""
    return CHECKS[code].title if code in CHECKS else code
