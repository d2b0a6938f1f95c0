"""The URL schemes of sources: the configuration and `open_source` accept the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from migrator.config.models import SourceConfig
from migrator.errors import UsageError
from migrator.sources import _OPENERS, open_source
from migrator.sources.sampled import SampledSource
from tests.archive_writer import write_folder
from tests.talks import make_talks


@pytest.mark.parametrize("scheme", _OPENERS)
def test_the_configuration_accepts_the_scheme(scheme: str) -> None:
    """A URL with the scheme of a source is a valid configuration."""
    url = "dump:folder" if scheme == "dump" else f"{scheme}://localhost"
    assert SourceConfig(url=url).url == url


def test_an_unknown_scheme_is_refused() -> None:
    """Both the configuration and `open_source` refuse a scheme without a source."""
    with pytest.raises(ValidationError):
        SourceConfig(url="mysql://localhost")
    with pytest.raises(UsageError, match="unknown source type: mysql://"):
        open_source("mysql://localhost")


def test_a_sample_ends_each_collection_after_its_documents(tmp_path: Path) -> None:
    """A sample has one batch per collection, which is marked as the last one; it has no partitions."""
    source = open_source(f"dump:{write_folder(tmp_path / 'dump', make_talks(messages=50))}")
    sample = SampledSource(source, 7)
    batches = list(sample.read({"messages": "", "users": ""}, documents=1000, size=1 << 20))
    assert [(each.collection, each.last) for each in batches] == [("messages", True), ("users", True)]
    assert batches[0].count == 7
    assert not source.is_live
    assert sample.split("messages", 100) is None
