-- Every embedding that a provider has computed, inserted in the transaction that writes it to its rows, so that no text
-- is sent twice. In a file of its own, because it needs pgvector. `Namespace.sql` replaces the names in braces.
CREATE TABLE IF NOT EXISTS {embeddings} (
  model text NOT NULL,
  dimensions integer NOT NULL,                -- of the model; `vector` has the dimensions of its column
  sha256 bytea NOT NULL,                      -- of the text, in UTF-8
  vector vector NOT NULL,
  PRIMARY KEY (model, dimensions, sha256)
)
