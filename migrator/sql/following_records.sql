-- The records of following and cutover, in schema `migrator`; see records.sql.

-- Following a live source (`migrate run --follow`, `migrate follow`).

CREATE TABLE IF NOT EXISTS {sync} (            -- one row: how far the change stream of the source has been received
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),  -- true
  state text NOT NULL,                        -- loading | following | stopped | switched | complete
  token bytea,                                -- BSON of the resume token: every event up to it is in `dirty`
  after_invalidate boolean NOT NULL DEFAULT false,  -- the token is that of an invalidate event: use startAfter
  last_event bytea,                           -- BSON: token, time, digest of the last event, to notice that it disappeared
  cluster_time timestamptz,                   -- the time of the source up to which all events were received
  stored timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when the token was stored
  received bigint NOT NULL DEFAULT 0,         -- events; also numbers the dirty keys
  applied bigint NOT NULL DEFAULT 0           -- dirty keys that were applied
);

CREATE TABLE IF NOT EXISTS {dirty} (           -- documents that changed in the source and are to be applied
  key bytea PRIMARY KEY,                      -- SHA-256 of collection, NUL and source_id: an _id can be too long
  collection text NOT NULL,
  source_id bytea NOT NULL,                   -- as in the ledger; empty: the whole collection must be compared
  number bigint NOT NULL,                     -- of the newest event; the applier deletes the key with this number only
  cluster_time bigint NOT NULL,               -- of the newest event: seconds << 32 | increment
  transaction_number bigint,                  -- events of one transaction have the same number; NULL: no transaction
  first timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when the oldest event was stored
  document bytea                              -- image of an insert or replace; NULL: look it up
);
CREATE INDEX IF NOT EXISTS {dirty_idx} ON {dirty} (number);

CREATE TABLE IF NOT EXISTS {wants} (           -- what documents without a row, or with an unresolved reference, wait for
  collection text NOT NULL,
  source_id bytea NOT NULL,
  wanted text NOT NULL,                       -- collection and column: 'users.id'
  value text NOT NULL                         -- hash of a long value
);
CREATE INDEX IF NOT EXISTS {wants_idx} ON {wants} (wanted, value);
CREATE INDEX IF NOT EXISTS {wants_source_idx} ON {wants} USING hash (source_id);

-- Returning the changes of the target to the source, after the application has been switched to it.

CREATE TABLE IF NOT EXISTS {changes} (         -- written by triggers: changed rows that are not returned yet
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- in the order of the changes of one row
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  table_name text NOT NULL,
  key text NOT NULL,                          -- of the row, as text
  operation text NOT NULL,                    -- I: insert | U: update | D: delete
  at timestamptz NOT NULL DEFAULT now(),      -- start of its transaction
  old jsonb                                   -- the row before; NULL for an insert
);

CREATE TABLE IF NOT EXISTS {intended} (        -- documents that are about to be written to the source
  collection text NOT NULL,
  source_id bytea NOT NULL,
  digest bytea                                -- SHA-256 of the document; NULL: it is to be deleted
);

CREATE TABLE IF NOT EXISTS {unreturned} (      -- values of rows that no field of their document can hold
  collection text NOT NULL,
  source_id bytea NOT NULL,
  target_id text NOT NULL,                    -- of the row
  column_name text NOT NULL,                  -- of the row
  value jsonb,                                -- of the row
  returned jsonb,                             -- what the document gives instead
  rounded boolean NOT NULL,                   -- a date of which only the part below a millisecond is lost
  PRIMARY KEY (collection, target_id, column_name)
);

CREATE TABLE IF NOT EXISTS {conflicts} (       -- documents of the source that were not as expected
  collection text NOT NULL,
  source_id bytea NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when it was noticed
  document bytea,                             -- as it was, whole; NULL: it was missing
  expected boolean NOT NULL                   -- whether a document was expected
);

CREATE TABLE IF NOT EXISTS {cutover_steps} (   -- the steps of every attempt to switch the application
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of the steps
  attempt integer NOT NULL,                   -- one call of `migrate cutover`
  direction text NOT NULL,                    -- forward | back
  dry_run boolean NOT NULL,                   -- a rehearsal
  step text NOT NULL,                         -- its name
  status text NOT NULL,                       -- started | done | failed | undone
  began timestamptz NOT NULL DEFAULT clock_timestamp(),  -- its start
  finished timestamptz,                       -- NULL while it is under way
  detail jsonb NOT NULL DEFAULT '{{}}',       -- what was found, and what is needed to undo the step
  UNIQUE (attempt, step)
);
