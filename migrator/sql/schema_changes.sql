-- The changes of the migration to the schema of the target, oldest first, with the statement that undoes each. A row is
-- inserted in the transaction of its change and deleted in the transaction that undoes it.
CREATE TABLE IF NOT EXISTS migrator.schema_changes (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,                         -- of the object: table, index, foreign_key …
  table_name text NOT NULL,
  name text NOT NULL,
  action text NOT NULL CHECK (action IN ('created', 'deferred')),
  definition text NOT NULL,                   -- the statement that creates the object
  undo text NOT NULL,                         -- the statement that undoes the change
  began timestamptz NOT NULL DEFAULT now(),
  finished timestamptz NOT NULL DEFAULT clock_timestamp(),
  worker integer NOT NULL DEFAULT pg_backend_pid(),  -- backend PID
  validation_began timestamptz,               -- of a foreign key
  validated timestamptz,
  UNIQUE (kind, table_name, name)
)
