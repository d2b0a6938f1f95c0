"""Extracts the text of files by their extension: plain text, PDF page by page, Word. Not here: splitting into
chunks."""

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


class UnreadableFileError(Exception):
    """The reason why no text can be extracted from a file. It contains no content of the file."""


@dataclass(frozen=True, slots=True)
class Page:
    """The text of a page (numbered from 0, as in the RAG API), or of an entire file."""

    text: str
    number: int | None = None


def read_plain(path: Path) -> list[Page]:
    """Return the text of a UTF-8 file, or of a file in an encoding of Windows."""
    data = _bytes(path)
    try:
        return [Page(data.decode("utf-8-sig"))]
    except UnicodeDecodeError:
        return [Page(data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252", errors="replace"))]


# Exceptions that the libraries raise for damaged files in addition to their own.
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


def read_pdf(path: Path) -> list[Page]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError, WrongPasswordError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # pypdf logs problems that it corrects itself
    try:
        return [Page(page.extract_text(), number) for number, page in enumerate(PdfReader(path).pages)]
    except (FileNotDecryptedError, WrongPasswordError) as error:  # pypdf tries the empty password
        raise UnreadableFileError("the PDF file is encrypted with a password") from error
    except DependencyError as error:
        raise UnreadableFileError(f"the PDF file requires a package that is not installed: {error}") from error
    except (PyPdfError, *_BROKEN) as error:
        raise UnreadableFileError(f"invalid PDF file ({type(error).__name__})") from error


def read_word(path: Path) -> list[Page]:
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    try:
        document = docx.Document(str(path))
    except (PackageNotFoundError, BadZipFile, *_BROKEN) as error:
        raise UnreadableFileError(f"invalid Word file ({type(error).__name__})") from error
    return [Page("\n\n".join(paragraph.text for paragraph in document.paragraphs if paragraph.text.strip()))]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"cannot open the file ({error.strerror})") from error


EXTRACTORS: dict[str, Callable[[Path], list[Page]]] = {
    **dict.fromkeys(PLAIN, read_plain),
    ".pdf": read_pdf,
    ".docx": read_word,
}
