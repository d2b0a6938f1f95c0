-- What the migration changed in the target's schema, oldest first, and how to take each change back. A row is written in
-- the transaction of its change and goes in the transaction that takes it back, so the table says what holds now.
CREATE TABLE IF NOT EXISTS migrator.objects (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,
  table_name text NOT NULL,
  name text NOT NULL,
  action text NOT NULL CHECK (action IN ('created', 'put_aside')),
  definition text NOT NULL,
  undo text NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),                     -- began, and the next two: when it was done, by which session
  done timestamptz NOT NULL DEFAULT clock_timestamp(),
  worker integer NOT NULL DEFAULT pg_backend_pid(),
  checking timestamptz,                                      -- a foreign key: from when to when its rows were checked
  checked timestamptz,
  UNIQUE (kind, table_name, name)
)
