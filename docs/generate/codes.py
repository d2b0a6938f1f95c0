"""The pages of findings, reject reasons, checks and exit codes.

Codes, severities and meanings of findings and reject reasons, and checks, come from the code; remedies of findings and
reject reasons, and exit codes, from texts.toml. A code without a text is an error.
"""

from __future__ import annotations

import mappings  # noqa: F401  # declares codes
from docs.generate.markdown import NOTICE, code, sentence, table
from docs.generate.texts import load_texts
from migrator import errors
from migrator.errors import MigrateError
from migrator.findings import FINDINGS, REASONS
from migrator.verification.check_codes import CHECKS
from migrator.workflows.verify import LEVELS

FINDINGS_INTRODUCTION = """# Findings

A finding records that a document was corrected, archived or is doubtful. The original value is preserved in the
records, so `migrate export` rebuilds the document exactly. `plan`, `run` and `report` list findings by code;
`migrator.findings` names each document and field. `warning`: check it before you go live. `info`: expected, no action.

Findings are counted per collection. After you fix a cause in the source, run `migrate plan` again.
"""
REASONS_INTRODUCTION = """# Reject reasons

A rejected document has no row in the target. It is kept unchanged in `migrator.rejects`, with its reason.
`migrate rejects list` lists rejected documents, `migrate rejects show ID` prints one of them. Fix the cause in the
source or in `migrate.toml`, then run `migrate rejects retry`. A document that refers to a rejected document is also
rejected (`orphan`); the retry loads both.
"""
CHECKS_INTRODUCTION = """# Checks of verify

`migrate verify` runs the checks of a level and of all levels below it: `counts`, `rows`, `roundtrip`. Each difference
names the row, the column, both values (redacted unless `--show-values`) and the likely cause: the source or the target
changed after the run, the configuration changed, the run is not finished, or the mapping. A
difference ends with exit code 4.
"""
EXIT_CODES_INTRODUCTION = """# Exit codes

Scripts can rely on these codes. With `--json`, an error is `{"error": {"message", "hint", "exit_code"}}` on standard
output.
"""


def findings_page() -> str:
    remedies = load_texts("findings")
    rows = [
        (code(name), severity, sentence(meaning), remedies[name])
        for name, (severity, meaning) in sorted(FINDINGS.items())
    ]
    return "\n".join([NOTICE, FINDINGS_INTRODUCTION, table(("Code", "Severity", "Meaning", "What to do"), rows)])


def reasons_page() -> str:
    remedies = load_texts("reasons")
    rows = [(code(name), sentence(meaning), remedies[name]) for name, meaning in sorted(REASONS.items())]
    return "\n".join([NOTICE, REASONS_INTRODUCTION, table(("Reason", "Meaning", "What to do"), rows)])


def checks_page() -> str:
    parts = [NOTICE, CHECKS_INTRODUCTION]
    for level in LEVELS:
        rows = [
            (code(name), each.title, each.meaning, each.remedy) for name, each in CHECKS.items() if each.level == level
        ]
        parts.append(f"## Level {level}\n\n" + table(("Code", "Title", "Condition", "If it fails"), rows))
    return "\n".join(parts)


def exit_codes() -> list[int]:
    """Returns 0 and every exit code that an error class has."""
    classes = (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, MigrateError))
    return sorted({0} | {each.exit_code for each in classes})


def exit_codes_page() -> str:
    texts = load_texts("exit_codes")
    rows = [(str(number), *(texts[str(number)][key] for key in ("meaning", "remedy"))) for number in exit_codes()]
    return "\n".join([NOTICE, EXIT_CODES_INTRODUCTION, table(("Code", "Meaning", "What to do"), rows)])
