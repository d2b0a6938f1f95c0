"""A folder of files: their texts, cut into chunks; the libraries ship what they need and ask nobody."""

from __future__ import annotations

import tomllib
from pathlib import Path
from unittest.mock import patch

import pytest

from migrator.documents.codec import Document, decode
from migrator.errors import UsageError
from migrator.sources.auxiliary.base import Origin
from migrator.sources.auxiliary.text_files import TextFiles, file_id_of

CHUNKS = Origin("document_chunks", "chunks")

TEXT = "First sentence, which says something. Second sentence, which says more. Third one.\n\n" * 20


def make_pdf(*texts: str) -> bytes:
    """A PDF with a page for each text, no more than a reader needs."""
    pages = [4 + 2 * number for number in range(len(texts))]
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(pages)}/Kids[{' '.join(f'{page} 0 R' for page in pages)}]>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for page, text in zip(pages, texts, strict=True):
        drawn = f"BT /F 12 Tf 20 200 Td ({text}) Tj ET"
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents {page + 1} 0 R/Resources<</Font<</F 3 0 R>>>>>>"
        )
        objects.append(f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream")
    data, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj{each}endobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    return data + f"{head}trailer<</Root 1 0 R/Size {len(objects) + 1}>>\nstartxref\n{len(data)}\n%%EOF".encode()


def read(root: Path, size: int = 400, overlap: int = 50, skip: int = 0) -> list[Document]:
    return [decode(each) for each in TextFiles(CHUNKS, str(root), size, overlap).read(skip)]


def test_plain_texts(tmp_path: Path) -> None:
    """Chunks are no longer than they may be, lie where they say, and cover the whole text."""
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "f0__notes.md").write_text(TEXT)
    found = read(tmp_path)
    assert [each["position"] for each in found] == list(range(len(found)))
    assert {each["file_id"] for each in found} == {"f0"}
    assert [each["_id"] for each in found[:2]] == ["u/f0__notes.md#0", "u/f0__notes.md#1"]
    covered = set[int]()
    for each in found:
        start, end = each["metadata"]["start_index"], each["metadata"]["end_index"]
        assert TEXT[start:end] == each["content"]
        assert 0 < len(each["content"]) <= 400
        covered |= set(range(start, end))
    assert all(TEXT[place].isspace() for place in set(range(len(TEXT))) - covered)
    assert read(tmp_path, skip=3) == found[3:]


def test_pages_of_pdf(tmp_path: Path) -> None:
    """Page by page, counted from 0."""
    (tmp_path / "f1.pdf").write_bytes(make_pdf("Hello page one", "Hello page two"))
    found = read(tmp_path)
    assert [(each["file_id"], each["content"], each["metadata"]["page"]) for each in found] == [
        ("f1", "Hello page one", 0),
        ("f1", "Hello page two", 1),
    ]


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256"])
def test_encrypted_pdf(tmp_path: Path, algorithm: str) -> None:
    """An empty user password is no obstacle; with another one, the chunk says why it has no content."""
    from pypdf import PdfReader, PdfWriter

    (tmp_path / "plain.pdf").write_bytes(make_pdf("Hello page one"))
    for name, password in (("f1", ""), ("f2", "secret")):
        writer = PdfWriter(clone_from=PdfReader(tmp_path / "plain.pdf"))
        writer.encrypt(user_password=password, owner_password="owner", algorithm=algorithm)
        writer.write(tmp_path / f"{name}.pdf")
    (tmp_path / "plain.pdf").unlink()
    first, second = read(tmp_path)
    assert (first["file_id"], first["content"]) == ("f1", "Hello page one")
    assert (second["file_id"], second["content"]) == ("f2", None)
    assert second["unreadable"] == "the PDF file is encrypted with a password"


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    """A file that needs a package which is not installed is a chunk that names it."""
    from pypdf.errors import DependencyError

    (tmp_path / "f1.pdf").write_bytes(make_pdf("x"))
    with patch("pypdf.PdfReader", side_effect=DependencyError("cryptography>=3.1 is required for AES algorithm")):
        (found,) = read(tmp_path)
    assert "cryptography" in found["unreadable"]


def test_the_extra_installs_what_encrypted_files_need() -> None:
    """Users install the packages that these tests use."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(each.startswith("pypdf[crypto]") for each in project["optional-dependencies"]["files"])


def test_word(tmp_path: Path) -> None:
    """The paragraphs of a Word file."""
    import docx

    document = docx.Document()
    for text in ("First paragraph.", "", "Second paragraph."):
        document.add_paragraph(text)
    document.save(str(tmp_path / "f2.docx"))
    assert [each["content"] for each in read(tmp_path)] == ["First paragraph.\n\nSecond paragraph."]


def test_other_encodings(tmp_path: Path) -> None:
    """What Windows wrote is read, too."""
    (tmp_path / "a.txt").write_bytes("Grüße".encode("cp1252"))
    (tmp_path / "b.txt").write_bytes("Grüße".encode("utf-16"))
    (tmp_path / "c.txt").write_bytes("Grüße".encode("utf-8-sig"))
    assert [each["content"] for each in read(tmp_path)] == ["Grüße"] * 3


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A damaged file is a chunk without content, which will be rejected; kinds without a text are counted; an empty
    file has no chunks."""
    (tmp_path / "a.pdf").write_bytes(b"no PDF at all")
    (tmp_path / "b.docx").write_bytes(b"PK\x03\x04nothing")
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    (tmp_path / "d.txt").write_bytes(b"")
    told: list[str] = []
    found = [decode(each) for each in TextFiles(CHUNKS, str(tmp_path), 400, 50, told.append).read(0)]
    assert [(each["file_id"], each["content"]) for each in found] == [("a", None), ("b", None)]
    assert all("invalid" in each["metadata"]["error"] for each in found)
    assert told == [f"files:{tmp_path}: skipped 1 file of unsupported types"]


def test_a_fingerprint_is_of_names_and_contents(tmp_path: Path) -> None:
    """It changes with either."""
    (tmp_path / "a.txt").write_text("x")
    folder = TextFiles(CHUNKS, str(tmp_path), 400, 50)
    before = folder.fingerprint()
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    renamed = folder.fingerprint()
    (tmp_path / "b.txt").write_text("y")
    assert len({before, renamed, folder.fingerprint()}) == 3


def test_without_the_extra(tmp_path: Path) -> None:
    """What to install is said."""
    with (
        patch("migrator.sources.auxiliary.text_files.find_spec", lambda name: None),
        pytest.raises(UsageError, match="requires the modules pypdf, cryptography, docx, ") as raised,
    ):
        TextFiles(CHUNKS, str(tmp_path), 400, 50)
    assert "mongo-to-postgres[files]" in raised.value.hint


@pytest.mark.parametrize(
    ("name", "file_id"), [("f0__a__b.pdf", "f0"), ("f0.tar.gz", "f0.tar"), ("f0", "f0"), ("__x.txt", "")]
)
def test_ids_in_names(name: str, file_id: str) -> None:
    """LibreChat's names, or the id alone."""
    assert file_id_of(name) == file_id
