"""The CSV export of a table: one document per row.

Supported: quoted newlines, doubled quotes, a byte-order mark, `,` `;` or tab as delimiter. As in exports of Supabase,
an empty field is NULL, JSON is text, and timestamps have PostgreSQL's format. The mapping declares the columns that are
not text (`Merge.kinds`).
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
from migrator.sources.auxiliary.base import Origin
from migrator.sources.auxiliary.values import parse

LONGEST = 1 << 30  # characters of one field; transcripts are long
_AGAIN = (
    "Export the table again. Values with a quote, a comma or a line break must be quoted, with quotes inside doubled."
)


class CsvFile:
    """The rows of a CSV file. `kinds`: column → kind (values.py); `columns`: name in the mapping → name in the file."""

    def __init__(self, origin: Origin, path: str, kinds: Mapping[str, str], columns: Mapping[str, str]) -> None:
        self.name, self.section = origin
        self._path, self._kinds = Path(path), kinds
        self._renamed = {in_file: name for name, in_file in columns.items()}
        self.label = f"csv:{path}"
        self._header()  # reports errors of the file before the run begins

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
        """Do nothing: no file stays open."""

    def _checked(self, rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
        for row in rows:
            if not row:
                continue  # an empty line
            if len(row) != width:
                line = getattr(rows, "line_num", 0)
                raise self._damaged(ValueError(f"the row has {len(row)} fields, the header has {width}"), line)
            yield row

    def _document(self, header: list[str], row: list[str]) -> Document:
        document: Document = {"_id": None}
        for name, text in zip(header, row, strict=True):
            kind = self._kinds.get(name, "text")
            document["_id" if name == "id" else name] = None if is_null(text, kind) else parse(text, kind)
        return document

    def _header(self) -> tuple[list[str], str]:
        """Return the columns by their names in the mapping, and the delimiter."""
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
        header = [self._renamed.get(name.strip(), name.strip()) for name in names]
        if "id" not in header:
            raise UsageError(
                f"{self.label} has no column id; columns found: {', '.join(header) or 'none'}",
                hint="The first line must contain the column names."
                f' If the column has another name, set [{self.section}] columns = {{ id = "NAME" }}.',
            )
        duplicates = sorted({name for name in header if header.count(name) > 1})
        if duplicates:
            raise UsageError(f"{self.label} has more than one column {duplicates[0]}", hint="Rename one of them.")
        return header, delimiter

    def _open(self) -> IO[str]:
        try:
            return self._path.open(encoding="utf-8-sig", newline="")
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(f"cannot read {self.label}: {error.strerror}", f"Correct `url` under [{self.section}].")

    def _damaged(self, error: Exception, line: int) -> DamagedSourceError:
        reason = f"invalid UTF-8 near line {line + 1}" if isinstance(error, UnicodeError) else f"line {line}: {error}"
        hint = "Save the file as UTF-8." if isinstance(error, UnicodeError) else _AGAIN
        offset = error.start if isinstance(error, UnicodeDecodeError) else 0
        return DamagedSourceError(reason, file=str(self._path), offset=offset, hint=hint)


def is_null(text: str, kind: str) -> bool:
    """Return whether a field is NULL: if it is empty, or the word NULL in a column that is not text."""
    return text == "" or (kind != "text" and text.upper() == "NULL")
