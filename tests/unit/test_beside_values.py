"""Values of relational rows as BSON, and what files of them may look like."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from migrator.documents.codec import Document, decode, encode, same
from migrator.errors import DamagedSourceError, SourceError, UsageError
from migrator.sources.auxiliary.base import Origin, make_batches
from migrator.sources.auxiliary.csv_file import CsvFile
from migrator.sources.auxiliary.json_text import JsonText
from migrator.sources.auxiliary.jsonl import JsonLines
from migrator.sources.auxiliary.values import parse

CHUNKS = Origin("document_chunks", "chunks")
RECORDINGS = Origin("recordings", "recordings")

VALUES: list[tuple[str, str, Any]] = [
    ("integer", "5", 5), ("integer", "-0", "-0"), ("integer", "007", "007"), ("integer", "5.0", "5.0"),
    ("integer", "9223372036854775807", 2**63 - 1), ("integer", "9223372036854775808", "9223372036854775808"),
    ("integer", "٥", "٥"), ("number", "1.10", Decimal128("1.10")), ("number", "1" * 40, "1" * 40),
    ("float", "1e400", float("inf")), ("float", "x", "x"), ("boolean", "T", True), ("boolean", "no", "no"),
    ("timestamp", "2024-05-01 10:00:00+02", DatetimeMS(1714550400000)),
    ("timestamp", "2024-05-01 10:00:00.1234", "2024-05-01 10:00:00.1234"), ("timestamp", "2024-05-01", "2024-05-01"),
    ("timestamp", "1969-12-31 23:59:59.999", DatetimeMS(-1)), ("timestamp", "infinity", "infinity"),
    ("json", '{"a": [1, null]}', {"a": [1, None]}), ("json", '{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
    ("json", "[99999999999999999999]", "[99999999999999999999]"), ("json", '{"a\\u0000": 1}', '{"a\\u0000": 1}'),
    ("json", "[NaN]", "[NaN]"), ("json", "null", "null"), ("json", "[" * 9000, "[" * 9000),
    ("json", "[1e999]", "[1e999]"), ("json", "[0.1000000000000000055]", "[0.1000000000000000055]"),
    ("json", '"\\ud800"', '"\\ud800"'), ("text", "null", "null"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "value"), VALUES)
def test_values(kind: str, text: str, value: Any) -> None:
    """A value of its kind, or the text itself where BSON would not give back the same."""
    assert same(parse(text, kind), value)


@given(text=st.text(max_size=30), kind=st.sampled_from(["integer", "number", "float", "boolean", "json", "timestamp"]))
def test_any_text_can_be_kept(text: str, kind: str) -> None:
    """Whatever it is, BSON takes it and gives it back."""
    value = parse(text, kind)
    assert same(decode(encode({"": value}))[""], value)


# --- CSV ------------------------------------------------------------------------------------------------------------


def write_csv(folder: Path, data: str | bytes) -> str:
    path = folder / "rows.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def read_csv(path: str, skip: int = 0, **columns: str) -> list[Document]:
    return [decode(each) for each in CsvFile(RECORDINGS, path, {"n": "integer"}, columns).read(skip)]


def test_rows_of_csv(tmp_path: Path) -> None:
    """Quoted line breaks, doubled quotes, empty lines, NULL, columns by other names."""
    path = write_csv(tmp_path, '\ufeffkey\tn\tt\r\n1\t5\t"a\r\n""b"""\r\n\r\n2\tNULL\tNULL\r\n\t\t\r\n')
    rows = [{"_id": "1", "n": 5, "t": 'a\r\n"b"'}, {"_id": "2", "n": None, "t": "NULL"},
            {"_id": None, "n": None, "t": None}]  # fmt: skip
    assert read_csv(path, id="key") == rows
    assert read_csv(path, 2, id="key") == rows[2:]


def test_a_long_text(tmp_path: Path) -> None:
    """Transcripts are longer than Python's csv takes by itself."""
    path = write_csv(tmp_path, f"id,t\n1,{'x' * 300_000}\n")
    assert len(read_csv(path)[0]["t"]) == 300_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("id,t\n1,a,b\n", "line 2: the row has 3 fields, the header has 2"),
        ("id,t\n1\n", "the row has 1 fields"),
        ('id,t\n1,"a\n', "unexpected end of data"),
        ('id,t\n1,"a"b"\n', "line 2"),
        (b"id,t\n1,\xff\n", "invalid UTF-8"),
        ("id,t\n1,a\n".encode("utf-16"), "invalid UTF-8"),
    ],
)
def test_damaged_csv(data: str | bytes, words: str, tmp_path: Path) -> None:
    """What cannot be read for certain is not guessed at: the line is named."""
    with pytest.raises(DamagedSourceError, match=words):
        read_csv(write_csv(tmp_path, data))


@pytest.mark.parametrize(
    ("data", "words"), [("", "no column id"), ("a,b\n", "columns found: a, b"), ("id,id\n", "more than one column id")]
)
def test_headers_of_csv(data: str, words: str, tmp_path: Path) -> None:
    """Without names of columns nothing can be told."""
    with pytest.raises(UsageError, match=words):
        read_csv(write_csv(tmp_path, data))


# --- JSON Lines -----------------------------------------------------------------------------------------------------


def write_lines(folder: Path, *lines: Any) -> str:
    path = folder / "chunks.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return str(path)


def read_lines(path: str, skip: int = 0) -> list[Document]:
    return [decode(each) for each in JsonLines(CHUNKS, path).read(skip)]


def test_lines(tmp_path: Path) -> None:
    """Places count by file; what follows from skipped lines is the same as without skipping; gzip is seen."""
    lines = [{"file_id": name, "content": name * n} for n in range(1, 4) for name in "ab"]
    path = write_lines(tmp_path, b"\xef\xbb\xbf" + json.dumps(lines[0]).encode(), *lines[1:])
    found = read_lines(path)
    assert [(each["_id"], each["position"]) for each in found] == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)]
    assert read_lines(path, 4) == found[4:]
    before = JsonLines(CHUNKS, path).fingerprint()
    data = Path(path).read_bytes()
    Path(path).write_bytes(gzip.compress(data))
    assert read_lines(path) == found
    assert JsonLines(CHUNKS, path).fingerprint() != before


@pytest.mark.parametrize("line", [b"{", b"[1]", b"5", b"\xff", b'{"a": {"$oid": "x"}}'])
def test_damaged_lines(line: bytes, tmp_path: Path) -> None:
    """A line that is no object, or none that can be kept, is named with its place."""
    with pytest.raises(DamagedSourceError, match=r"byte 21: line 2 is not a JSON object"):
        read_lines(write_lines(tmp_path, {"content": "first"}, line))


SPECIAL_LINES: list[tuple[str, dict[str, Any]]] = [
    ('"content": "x", "metadata": {"page": 99999999999999999999}', {"metadata": {"page": Decimal128("9" * 20)}}),
    ('"content": "x", "metadata": {"page": 1e999}', {"metadata": {"page": Decimal128("1E+999")}}),
    ('"content": "x", "n": 0.1000000000000000055', {"n": Decimal128("0.1000000000000000055")}),
    ('"content": "x", "n": -0.0', {"n": -0.0}),
    ('"content": "x", "metadata": {"s": "a\\u0000b"}', {"metadata": {"s": "a\0b"}}),
    ('"content": "\\ud83d\\ude00"', {"content": "\U0001f600"}),
    ('"content": "x", "position": 7.0', {"position": 7}),
    ('"content": "x", "position": 1e999', {"position": Decimal128("1E+999")}),
    ('"content": "x", "position": "7"', {"position": "7"}),
]
# `original_json` preserves what was replaced.
REPLACED_LINES: list[tuple[str, dict[str, Any]]] = [
    ('"content": "a\\ud83db"', {"content": b"a\xed\xa0\xbdb"}),
    ('"content": "x", "metadata": {"s": "a\\ud83db"}', {"metadata": {"s": "a\ufffdb"}}),
    ('"content": "x", "metadata": {"a\\ud83db": ["\\udc00"]}', {"metadata": {"a\ufffdb": ["\ufffd"]}}),
    ('"content": "x", "a\\u0000": 1', {"a": 1}),
    ('"content": "first", "content": "x"', {"content": "x"}),
    (f'"content": "x", "n": {"1" * 40}', {"n": "1" * 40}),
    (f'"content": "x", "n": {"1" * 5000}', {"n": "1" * 5000}),
    ('"content": "x", "n": 1e99999999999999999999', {"n": "1e99999999999999999999"}),
]


@pytest.mark.parametrize(("line", "fields"), [*SPECIAL_LINES, *REPLACED_LINES])
def test_lines_that_bson_cannot_hold(line: str, fields: dict[str, Any], tmp_path: Path) -> None:
    """Numbers are exact; what BSON cannot hold is replaced, with the original text in a field. Other lines go on."""
    text = f'{{"file_id": "f", {line}}}'
    found = read_lines(write_lines(tmp_path, {"file_id": "f", "content": "first"}, text.encode(), {"content": "last"}))
    usual = {"_id": 2, "file_id": "f", "position": 1, "content": "x", "metadata": {}}
    original = {"original_json": text} if (line, fields) in REPLACED_LINES else {}
    assert found[1] == usual | fields | original
    assert type(found[1]["position"]) is type((usual | fields)["position"])
    assert found[2]["content"] == "last"


def test_a_line_that_is_nested_too_deeply(tmp_path: Path) -> None:
    """It says why it is rejected; the other lines are read."""
    deep = b'{"file_id": "f", "metadata": ' + b'{"a":' * 90_000 + b"1" + b"}" * 90_001
    found = read_lines(write_lines(tmp_path, {"content": "first"}, deep, {"content": "last"}))
    assert found[1] == {"_id": 2, "line": deep.decode(), "unreadable": "nested too deeply"}
    assert found[2]["content"] == "last"


def has_exact_numbers(text: str, value: Any) -> bool:
    """Return whether a number equals that of its text."""
    return Decimal(str(value)) == Decimal(text)


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,45})([.][0-9]{1,45})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
def test_any_number_is_exact(text: str) -> None:
    """A JSON number becomes a BSON number of the same value, or keeps its text and is reported."""
    found = JsonText(text)
    assert isinstance(found.value, str) == found.changed
    assert has_exact_numbers(text, found.value)
    encode({"": found.value})


@given(st.recursive(st.text(st.characters(), max_size=5) | st.none() | st.integers(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(st.characters(), max_size=3), inner)))  # fmt: skip
def test_any_json_can_be_stored(value: Any) -> None:
    """Whatever a JSON text holds, BSON can store the value; without a report it is the value of the text."""
    text = json.dumps(value)
    found = JsonText(text)
    assert decode(encode({"": found.value}))[""] == found.value
    assert found.changed or any(character in text for character in "0123456789") or found.value == value


def test_a_torn_gzip_file(tmp_path: Path) -> None:
    """It is not taken for a shorter one."""
    path = tmp_path / "chunks.jsonl"
    path.write_bytes(gzip.compress(b'{"content": "x"}\n' * 5000)[:-20])
    with pytest.raises(SourceError, match="cannot read"):
        read_lines(str(path))


# --- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("start", ["", "2"])
def test_batches(count: int, start: str) -> None:
    """They follow each other without a gap, and only the last says so."""
    found = list(make_batches("x", (encode({"n": n}) for n in range(count)), start, 3, 1 << 20))
    assert [each.last for each in found] == [False] * (len(found) - 1) + [True]
    assert [each.start for each in found] == [start, *(each.end for each in found[:-1])]
    assert sum(each.count for each in found) == count
    assert found[-1].end == str(int(start or 0) + count)
    assert all(each.count <= 3 for each in found)


def test_batches_by_size() -> None:
    """A document larger than a batch goes whole."""
    found = list(make_batches("x", (encode({"n": "x" * 100}) for _ in range(3)), "", 100, 50))
    assert [each.count for each in found] == [1, 1, 1]
