"""Writes checks as JUnit XML, for continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from migrator.errors import UsageError
from migrator.verification.model import Check


def write_junit(path: Path, checks: Sequence[Check], not_applied: int | None = None) -> None:
    """Write one test case per check; a failed one lists its examples.

    `not_applied`: documents whose changes were not applied yet, a property of the suite; None: not followed.

    Raises: `UsageError` if the file cannot be written.
    """
    failures = sum(not check.ok for check in checks)
    suite = ElementTree.Element("testsuite", name="migrate verify", tests=str(len(checks)), failures=str(failures))
    if not_applied is not None:
        properties = ElementTree.SubElement(suite, "properties")
        ElementTree.SubElement(properties, "property", name="not_applied", value=str(not_applied))
    for check in checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"verify.{check.check}", name=_escape_control(check.table or "all")
        )
        if not check.ok:
            failure = ElementTree.SubElement(case, "failure", message=_escape_control(check.summary))
            failure.text = _escape_control("\n".join(check.examples))
    try:
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _escape_control(text: str) -> str:
    # XML 1.0 cannot represent most control characters, not even escaped.
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)
