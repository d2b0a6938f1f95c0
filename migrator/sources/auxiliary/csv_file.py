"""A table's CSV export: one document a row. Quoted newlines, doubled quotes, a byte-order mark, `,` `;` or tab.

Supabase's own conventions: an empty field is NULL, JSON is written as text, moments as PostgreSQL spells them. Which
columns are no texts the mapping says (`Merge.kinds`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO

from migrator.documents.codec import Document, encode
from migrator.documents.fingerprint import hash_file
from migrator.errors import DamagedSourceError, SourceError, UsageError
from migrator.sources.auxiliary.values import parse

LONGEST = 1 << 30  # characters of one field; transcripts are long
_AGAIN = "Export the table again; every value with a quote, a comma or a line break must be in quotes, quotes doubled."


class CsvFile:
    """Rows of a CSV file. `kinds`: column → kind (values.py); `columns`: our name of a column → the file's."""

    section = "recordings"

    def __init__(self, name: str, path: str, kinds: Mapping[str, str], columns: Mapping[str, str]) -> None:
        self.name, self._path, self._kinds = name, Path(path), kinds
        self._ours = {theirs: ours for ours, theirs in columns.items()}
        self.label = f"csv:{path}"
        self._header()  # what is wrong with the file is said before anything is done

    def fingerprint(self) -> str:
        try:
            with self._path.open("rb") as file:
                return hash_file(file)
        except OSError as error:
            raise self._unreadable(error) from error

    def read(self, skip: int) -> Iterator[bytes]:
        header, delimiter = self._header()
        with self._open() as file:
            try:
                rows = csv.reader(file, delimiter=delimiter, strict=True)
                next(rows)
                for row in islice(self._checked(rows, len(header)), skip, None):
                    yield encode(self._document(header, row))
            except (csv.Error, UnicodeDecodeError) as error:
                raise self._damaged(error, rows.line_num) from error
            except OSError as error:
                raise self._unreadable(error) from error

    def close(self) -> None:
        """Nothing stays open."""

    def _checked(self, rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
        for row in rows:
            if not row:
                continue  # an empty line
            if len(row) != width:
                line = getattr(rows, "line_num", 0)
                raise self._damaged(ValueError(f"a row of {len(row)} fields where the header has {width}"), line)
            yield row

    def _document(self, header: list[str], row: list[str]) -> Document:
        document: Document = {"_id": None}
        for name, text in zip(header, row, strict=True):
            kind = self._kinds.get(name, "text")
            document["_id" if name == "id" else name] = None if is_null(text, kind) else parse(text, kind)
        return document

    def _header(self) -> tuple[list[str], str]:
        """The columns by our names, and what stands between fields."""
        csv.field_size_limit(LONGEST)
        try:
            with self._open() as file:
                line = file.readline()
        except UnicodeDecodeError as error:
            raise self._damaged(error, 1) from error
        delimiter = max(",;\t", key=line.count)
        try:
            names = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise self._damaged(error, 1) from error
        header = [self._ours.get(name.strip(), name.strip()) for name in names]
        if "id" not in header:
            raise UsageError(
                f"{self.label} has no column id; it has {', '.join(header) or 'none'}",
                hint='Its first line must name the columns. [recordings] columns = { id = "NAME" } names another one.',
            )
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise UsageError(f"{self.label} has more than one column {twice[0]}", hint="Rename one of them.")
        return header, delimiter

    def _open(self) -> IO[str]:
        try:
            return self._path.open(encoding="utf-8-sig", newline="")
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(f"{self.label} cannot be read: {error.strerror}", "Correct `url` under [recordings].")

    def _damaged(self, error: Exception, line: int) -> DamagedSourceError:
        what = f"not UTF-8 near line {line + 1}" if isinstance(error, UnicodeError) else f"line {line}: {error}"
        hint = "Save it as UTF-8." if isinstance(error, UnicodeError) else _AGAIN
        offset = error.start if isinstance(error, UnicodeDecodeError) else 0
        return DamagedSourceError(what, file=str(self._path), offset=offset, hint=hint)


def is_null(text: str, kind: str) -> bool:
    """Supabase takes an empty field for NULL, and the word too; in a text the word may be meant."""
    return text == "" or (kind != "text" and text.upper() == "NULL")
