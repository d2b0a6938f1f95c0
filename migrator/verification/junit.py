"""Checks as JUnit XML, for continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from migrator.errors import UsageError
from migrator.verification.model import Check


def write_junit(path: Path, checks: Sequence[Check]) -> None:
    """One test case a check; a failed one lists its examples. Raises `UsageError` where the file cannot be written."""
    failures = sum(not check.ok for check in checks)
    suite = ElementTree.Element("testsuite", name="migrate verify", tests=str(len(checks)), failures=str(failures))
    for check in checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"verify.{check.check}", name=_printable(check.table or "all")
        )
        if not check.ok:
            message = f"expected {check.expected}, found {check.actual}"
            failure = ElementTree.SubElement(case, "failure", message=_printable(message))
            failure.text = _printable("\n".join(check.examples))
    try:
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _printable(text: str) -> str:
    # XML 1.0 has no way to write most control characters.
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)
