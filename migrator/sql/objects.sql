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
  at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (kind, table_name, name)
)
