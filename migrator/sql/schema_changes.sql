-- What the migration changed in the target's schema, oldest first, and how to take each change back. A row is written in
-- the transaction of its change and goes in the transaction that takes it back, so the table says what holds now.
CREATE TABLE IF NOT EXISTS migrator.schema_changes (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,
  table_name text NOT NULL,
  name text NOT NULL,
  action text NOT NULL CHECK (action IN ('created', 'deferred')),
  definition text NOT NULL,
  undo text NOT NULL,
  began timestamptz NOT NULL DEFAULT now(),
  finished timestamptz NOT NULL DEFAULT clock_timestamp(),
  worker integer NOT NULL DEFAULT pg_backend_pid(),
  validation_began timestamptz,                              -- a foreign key: when the validation of its rows began
  validated timestamptz,
  UNIQUE (kind, table_name, name)
)
