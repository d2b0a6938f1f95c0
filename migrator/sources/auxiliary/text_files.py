"""A folder of files: their text, split into chunks as the RAG API does.

Requires the optional extra `files` (pypdf with cryptography, python-docx, semantic-text-splitter). The ID of a file is
the first part of its name if that is `ID__name`, else the name without its extension. A file that cannot be read
becomes a chunk without content that names the reason; it is rejected and archived. Files of other types than text are
skipped; the number is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from io import BufferedReader
from itertools import islice
from pathlib import Path

from migrator.documents.codec import Document, encode
from migrator.documents.fingerprint import hash_file, hash_parts
from migrator.errors import SourceError, UsageError
from migrator.formatting import format_count
from migrator.sources.auxiliary.base import UNREADABLE, Origin
from migrator.sources.auxiliary.text_extraction import EXTRACTORS, Page, UnreadableFileError

REQUIRED_MODULES = ("pypdf", "cryptography", "docx", "semantic_text_splitter")


class TextFiles:
    """The chunks of all files in a folder. `size` and `overlap` of chunks are in characters."""

    def __init__(
        self, origin: Origin, path: str, size: int, overlap: int, notify: Callable[[str], None] | None = None
    ) -> None:
        self.name, self.section = origin
        missing = [module for module in REQUIRED_MODULES if find_spec(module) is None]
        if missing:
            raise UsageError(
                f"{self.section}.url is a folder, which requires the modules {', '.join(missing)}",
                hint='Install the extra: pip install "mongo-to-postgres[files]"; or export the chunks as JSON Lines.',
            )
        self._root, self._size, self._overlap = Path(path), size, overlap
        self._notify = notify or (lambda text: None)
        self.label = f"files:{path}"
        if not self._root.is_dir():
            raise SourceError(f"{self.label} is not a folder", f"Correct `url` under [{self.section}].")

    def fingerprint(self) -> str:
        parts: list[bytes] = []
        for path in self._files():
            name = path.relative_to(self._root).as_posix().encode(errors="surrogateescape")
            with self._opened(path) as file:
                parts.append(name + b"\0" + bytes.fromhex(hash_file(file)))
        return hash_parts(parts)

    def read(self, skip: int) -> Iterator[bytes]:
        return islice(self._read(), skip, None)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _read(self) -> Iterator[bytes]:
        skipped = 0
        for path in self._files():
            extract = EXTRACTORS.get(path.suffix.lower())
            if extract is None:
                skipped += 1
                continue
            for chunk in self._chunks(path, extract):
                yield encode(chunk)
        if skipped:
            self._notify(f"{self.label}: skipped {format_count(skipped, 'files')} of unsupported types")

    def _chunks(self, path: Path, extract: Callable[[Path], list[Page]]) -> Iterator[Document]:
        name = path.relative_to(self._root).as_posix().encode(errors="replace").decode()
        common: Document = {"_id": f"{name}#0", "file_id": file_id_of(path.name), "position": 0, "content": None}
        try:
            pages = extract(path)
        except UnreadableFileError as error:
            yield {**common, "metadata": {"source": name, "error": str(error)}, UNREADABLE: str(error)}
            return
        for position, (content, metadata) in enumerate(self._split(pages)):
            chunk = {"_id": f"{name}#{position}", "position": position, "content": content}
            yield {**common, **chunk, "metadata": {"source": name, **metadata}}

    def _split(self, pages: list[Page]) -> Iterator[tuple[str, Document]]:
        from semantic_text_splitter import TextSplitter

        splitter = TextSplitter(self._size, overlap=self._overlap)
        for page in pages:
            for start, content in splitter.chunk_indices(page.text):
                metadata: Document = {"start_index": start, "end_index": start + len(content)}
                yield content, metadata if page.number is None else {"page": page.number, **metadata}

    def _files(self) -> list[Path]:
        """Return all files in a fixed order."""
        return sorted(path for path in self._root.rglob("*") if path.is_file())

    def _opened(self, path: Path) -> BufferedReader:
        try:
            return path.open("rb")
        except OSError as error:
            raise SourceError(f"cannot read {path}: {error.strerror}", "Check the permissions of the file.") from error


def file_id_of(name: str) -> str:
    """Return the file ID in a file name: `ID__report.pdf` → `ID`; `ID.pdf` → `ID`."""
    head, mark, _ = name.partition("__")
    return head if mark else name.rsplit(".", 1)[0]
