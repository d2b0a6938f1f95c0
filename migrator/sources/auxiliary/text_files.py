"""A folder of the files themselves: their texts, cut into chunks as the RAG API would.

Needs the optional extra `files` (pypdf, python-docx, semantic-text-splitter). A file's id is its name as LibreChat
stores it, `ID__name`, or the name itself without its ending. What cannot be read becomes a chunk without content, which
is rejected and kept: nothing is left out in silence but files of kinds that have no text.
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
from migrator.sources.auxiliary.text_extraction import READERS, Page, Unreadable

NEEDED = ("pypdf", "docx", "semantic_text_splitter")


class Folder:
    """`size` and `overlap` in characters."""

    section = "chunks"

    def __init__(
        self, name: str, path: str, size: int, overlap: int, notify: Callable[[str], None] | None = None
    ) -> None:
        missing = [module for module in NEEDED if find_spec(module) is None]
        if missing:
            raise UsageError(
                f"chunks.url names a folder, which needs {', '.join(missing)}",
                hint='Install the extra: pip install "mongo-to-postgres[files]"; or export the chunks as JSON Lines.',
            )
        self.name, self._root, self._size, self._overlap = name, Path(path), size, overlap
        self._notify = notify or (lambda text: None)
        self.label = f"files:{path}"
        if not self._root.is_dir():
            raise SourceError(f"{self.label} is no folder", "Correct `url` under [chunks].")

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
        """Nothing stays open."""

    def _read(self) -> Iterator[bytes]:
        passed = 0
        for path in self._files():
            reader = READERS.get(path.suffix.lower())
            if reader is None:
                passed += 1
                continue
            for chunk in self._chunks(path, reader):
                yield encode(chunk)
        if passed:
            self._notify(f"{self.label}: {passed:,} files of kinds without a text that can be read were passed over")

    def _chunks(self, path: Path, reader: Callable[[Path], list[Page]]) -> Iterator[Document]:
        name = path.relative_to(self._root).as_posix().encode(errors="replace").decode()
        common: Document = {"_id": f"{name}#0", "file_id": file_id_of(path.name), "position": 0, "content": None}
        try:
            pages = reader(path)
        except Unreadable as error:
            yield {**common, "metadata": {"source": name, "error": str(error)}}
            return
        for position, (content, metadata) in enumerate(self._cut(pages)):
            chunk = {"_id": f"{name}#{position}", "position": position, "content": content}
            yield {**common, **chunk, "metadata": {"source": name, **metadata}}

    def _cut(self, pages: list[Page]) -> Iterator[tuple[str, Document]]:
        from semantic_text_splitter import TextSplitter

        splitter = TextSplitter(self._size, overlap=self._overlap)
        for page in pages:
            for start, content in splitter.chunk_indices(page.text):
                metadata: Document = {"start_index": start, "end_index": start + len(content)}
                yield content, metadata if page.number is None else {"page": page.number, **metadata}

    def _files(self) -> list[Path]:
        """All files, in an order that is the same everywhere."""
        return sorted(path for path in self._root.rglob("*") if path.is_file())

    def _opened(self, path: Path) -> BufferedReader:
        try:
            return path.open("rb")
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}", "The files must be readable.") from error


def file_id_of(name: str) -> str:
    """`ID__report.pdf` → `ID`; `ID.pdf` → `ID`."""
    head, mark, _ = name.partition("__")
    return head if mark else name.rsplit(".", 1)[0]
