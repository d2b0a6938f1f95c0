-- Every vector that was ever paid for: filled in the transaction that gives it to its rows, so that no text is sent twice.
-- By itself, because only a target with pgvector can have it. Names in braces are put in by journal.Place.
CREATE TABLE IF NOT EXISTS {embeddings} (
  model text NOT NULL,
  dimensions integer NOT NULL,                -- as the model gives them; vector is as long as the column it is for
  sha256 bytea NOT NULL,                      -- of the text in UTF-8
  vector vector NOT NULL,
  PRIMARY KEY (model, dimensions, sha256)
)
