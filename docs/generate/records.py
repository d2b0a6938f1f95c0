"""The page of schema `migrator`: every table with its columns, read from the SQL files that create them;
what each table holds is in texts.toml."""

from __future__ import annotations

import re
from importlib import resources

from docs.generate.markdown import NOTICE, code, table
from docs.generate.texts import load_texts

INTRODUCTION = """# Records: schema `migrator`

The tool keeps its records in schema `migrator` of the target. A batch's rows, its ledger rows and its journal entry
commit in one transaction. For every collection, `source = loaded + rejected + archived` holds at every commit.

The columns of `ledger`, `rejects`, `archive` and `findings` are a stable interface. All other tables may change with
the version of the records; a command refuses records of another version (exit code 2). `migrate revert` drops the
schema.

To let a role read the records:

```sql
GRANT USAGE ON SCHEMA migrator TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA migrator TO reader;
```
"""
FILES = ("records.sql", "following_records.sql", "schema_changes.sql", "embeddings.sql")
_TABLE = re.compile(
    r"CREATE (?:UNLOGGED )?TABLE IF NOT EXISTS (?:migrator\.|\{)(\w+)\}? \([^\n]*\n(.*?)\n\)", re.DOTALL
)
_COLUMN = re.compile(r"^  ([a-z_0-9]+) ([a-z0-9{}()]+)")


def tables() -> dict[str, list[tuple[str, str, str]]]:
    """Returns table → [(column, type, comment)]."""
    found = {}
    for file in FILES:
        text = (resources.files("migrator.sql") / file).read_text(encoding="utf-8")
        for name, body in _TABLE.findall(text):
            found[name] = _columns(body)
    return found


def _columns(body: str) -> list[tuple[str, str, str]]:
    columns: list[tuple[str, str, str]] = []
    for line in body.splitlines():
        column = _COLUMN.match(line)
        if column:
            columns.append((column[1], column[2].rstrip(","), _comment(line)))
        elif columns and line.strip().startswith("--"):  # a comment that continues on the next line
            name, kind, comment = columns.pop()
            columns.append((name, kind, f"{comment} {_comment(line)}".strip()))
    return columns


def _comment(line: str) -> str:
    return line.partition("--")[2].strip()


def meaning_of(table: str, column: str, comment: str) -> str:
    """Returns the comment of a column, or else its text in texts.toml; '' for a column without either."""
    texts = load_texts("columns")
    return str(comment or texts.get(f"{table}.{column}", texts.get(column, "")))


def page() -> str:
    """Renders the page."""
    parts = [NOTICE, INTRODUCTION]
    texts = load_texts("records")
    for name, columns in sorted(tables().items()):
        parts.append(f"## {name}\n\n{texts[name]}\n")
        parts.append(
            table(
                ("Column", "Type", "Meaning"), [(code(c), code(k), meaning_of(name, c, text)) for c, k, text in columns]
            )
        )
    return "\n".join(parts)
