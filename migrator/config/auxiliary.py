"""Types of sections for sources that are not in MongoDB: a table, and text chunks.

A package of mappings declares such a section in its `Settings`, and names it in the mapping or merge that it fills.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from migrator.config.fields import ChunksUrl, TableUrl, Text
from migrator.config.models import Section


class AuxiliarySection(Section):
    """Base class of sections that name an auxiliary source."""

    url: str = Field(repr=False)


class TableSection(AuxiliarySection):
    """A table in a PostgreSQL database, or its export as CSV.

    `columns`: the name in the mapping → the different name in that table.
    """

    url: TableUrl = Field(repr=False)
    table: Text
    columns: dict[Text, Text] = Field(default_factory=dict)


class ChunksSection(AuxiliarySection):
    """Text chunks: in a store of LangChain, as JSON Lines, or files that are cut into chunks.

    `collection`: in the store, None: all. `size` and `overlap`, in characters: of chunks that are cut from files.
    `vectors`: whether the vectors of the source are loaded. `model`: the model that computed them.
    """

    url: ChunksUrl = Field(repr=False)
    collection: Text | None = None
    vectors: Literal["reembed", "reuse"] = "reembed"
    model: Text | None = None
    size: int = Field(default=1500, ge=50, le=100_000)
    overlap: int = Field(default=100, ge=0)

    @model_validator(mode="after")
    def _check_overlap(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError("overlap must be smaller than size")
        return self

    @model_validator(mode="after")
    def _check_vectors(self) -> Self:
        if self.reuses_vectors and self.url.startswith("files:"):
            raise ValueError('vectors = "reuse" requires a url of stored vectors: postgresql:// or jsonl:')
        if self.reuses_vectors and self.model is None:
            raise ValueError('vectors = "reuse" requires the key `model`: the model that computed the vectors')
        return self

    @property
    def reuses_vectors(self) -> bool:
        return self.vectors == "reuse"
