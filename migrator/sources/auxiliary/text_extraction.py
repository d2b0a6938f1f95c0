"""The texts of files, by the ending of their names: plain texts, PDF page by page, Word. No cutting here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

PLAIN = (
    ".txt", ".md", ".markdown", ".rst", ".log", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".html",
    ".htm", ".py", ".js", ".ts", ".sql", ".java", ".c", ".cpp", ".go", ".rs", ".rb", ".php", ".sh",
)  # fmt: skip


class Unreadable(Exception):
    """Why a file has no text; a kind of failure, never something of the file's content."""


@dataclass(frozen=True, slots=True)
class Page:
    """The text of a page (from 0, as the RAG API counts), or of a whole file."""

    text: str
    number: int | None = None


def read_plain(path: Path) -> list[Page]:
    """UTF-8, else what Windows wrote."""
    data = _bytes(path)
    try:
        return [Page(data.decode("utf-8-sig"))]
    except UnicodeDecodeError:
        return [Page(data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252", errors="replace"))]


# What libraries raise where a file is not what it seems to be, beside errors of their own.
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


def read_pdf(path: Path) -> list[Page]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it complains of, and mends, is nobody's concern
    try:
        return [Page(page.extract_text(), number) for number, page in enumerate(PdfReader(path).pages)]
    except (PyPdfError, DependencyError, *_BROKEN) as error:
        raise Unreadable(f"no PDF that can be read ({type(error).__name__})") from error


def read_word(path: Path) -> list[Page]:
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    try:
        document = docx.Document(str(path))
    except (PackageNotFoundError, BadZipFile, *_BROKEN) as error:
        raise Unreadable(f"no Word file that can be read ({type(error).__name__})") from error
    return [Page("\n\n".join(paragraph.text for paragraph in document.paragraphs if paragraph.text.strip()))]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be opened ({error.strerror})") from error


READERS: dict[str, Callable[[Path], list[Page]]] = {
    **dict.fromkeys(PLAIN, read_plain),
    ".pdf": read_pdf,
    ".docx": read_word,
}
