-- The records of a migration, in schema `migrator`. `Namespace.sql` replaces the names in braces.
-- The ledger has no unique key: a dump can contain an _id twice, and both documents are accounted for.

CREATE TABLE IF NOT EXISTS {runs} (
  run integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  status text NOT NULL,                       -- running | done | stopped
  started timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished timestamptz,
  version text NOT NULL,
  source text NOT NULL,                       -- label, without secrets
  database text NOT NULL,                     -- of the source
  fingerprints jsonb NOT NULL,                -- source, configuration, mappings: must be the same to resume
  attempt integer NOT NULL DEFAULT 1          -- fencing token: workers of earlier attempts cannot commit
);

CREATE TABLE IF NOT EXISTS {steps} (
  step text PRIMARY KEY,
  run integer NOT NULL,
  began timestamptz NOT NULL DEFAULT now(),   -- start of its transaction, or of the step if it has several
  finished timestamptz NOT NULL DEFAULT clock_timestamp(),
  detail jsonb
);

CREATE TABLE IF NOT EXISTS {partitions} (     -- ranges of collections that are read independently
  collection text NOT NULL,
  part integer NOT NULL,
  start text NOT NULL,
  stop text NOT NULL,
  streamed boolean NOT NULL,                  -- the collection can be read from start to end only
  PRIMARY KEY (collection, part)
);

CREATE TABLE IF NOT EXISTS {batches} (
  collection text NOT NULL,
  part integer NOT NULL,
  first_position text NOT NULL,
  last_position text NOT NULL,
  documents integer NOT NULL,
  bytes bigint NOT NULL,
  last boolean NOT NULL,
  run integer NOT NULL,
  began timestamptz NOT NULL DEFAULT now(),   -- start of its transaction, includes the translation
  committed timestamptz NOT NULL DEFAULT clock_timestamp(),
  worker integer NOT NULL DEFAULT pg_backend_pid(),  -- backend PID
  PRIMARY KEY (collection, part, first_position)
);

CREATE UNLOGGED TABLE IF NOT EXISTS {heartbeats} (  -- current activity, for `status` and throttling
  name text PRIMARY KEY,
  kind text NOT NULL,                         -- step | worker | throttle | rate_limit
  done bigint,
  total bigint,
  unit text,
  waiting text,                               -- the reason for waiting; NULL while working
  since timestamptz NOT NULL DEFAULT clock_timestamp(),  -- start of the step or wait
  at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- last heartbeat
  ended timestamptz
);

CREATE TABLE IF NOT EXISTS {own_transactions} (  -- of this migration; compared with the xmin of a row
  xid xid8 PRIMARY KEY DEFAULT pg_current_xact_id(),
  adopted boolean NOT NULL DEFAULT false      -- of the application, whose rows the source has, too
);

CREATE TABLE IF NOT EXISTS {foreign_edits} (  -- migrated rows that other clients had changed before a run resumed
  table_name text NOT NULL,
  id text NOT NULL,
  PRIMARY KEY (table_name, id)
);

CREATE TABLE IF NOT EXISTS {metadata} (
  collection text PRIMARY KEY,
  metadata bytea,                             -- <collection>.metadata.json of mongodump, unchanged
  documents bigint,                           -- number, as the source estimates it before the run
  bytes bigint,                               -- of BSON, as the source estimates it before the run
  origin text                                 -- label of the source, if it is not the MongoDB database
);

CREATE TABLE IF NOT EXISTS {ledger} (
  collection text NOT NULL,
  source_id bytea NOT NULL,
  target_id text,                             -- of its row
  outcome text NOT NULL,                      -- loaded | rejected | archived
  residue bytea                               -- BSON: the part of the document that its row cannot reproduce
) WITH (toast_tuple_target = 8160);

CREATE TABLE IF NOT EXISTS {rejects} (
  collection text NOT NULL,
  source_id bytea NOT NULL,
  reason text NOT NULL,
  detail text NOT NULL,
  document bytea NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS {refusals} (       -- documents whose rows the target does not let the run change
  collection text NOT NULL,
  source_id bytea NOT NULL,
  detail text NOT NULL
);

CREATE TABLE IF NOT EXISTS {archive} (
  collection text NOT NULL,
  source_id bytea NOT NULL,
  document bytea NOT NULL
);

CREATE TABLE IF NOT EXISTS {findings} (
  collection text NOT NULL,
  code text NOT NULL,
  severity text NOT NULL,
  source_id bytea NOT NULL,
  detail text NOT NULL
);

CREATE TABLE IF NOT EXISTS {aliases} (        -- IDs of documents that do not have the row with this ID
  collection text NOT NULL,
  original_id text NOT NULL,
  target text,                                -- the row of the document; NULL: it was not loaded
  owner text                                  -- the owner whose references use the alias; NULL: all owners
);
CREATE INDEX IF NOT EXISTS {aliases_idx} ON {aliases} (collection, original_id);

CREATE TABLE IF NOT EXISTS {given_ids} (      -- rows that the application created: the IDs that their documents cannot give
  collection text NOT NULL,
  original_id text NOT NULL,                  -- the ID that follows from the document
  target_id text NOT NULL,                    -- of the row
  PRIMARY KEY (collection, original_id)
);

CREATE TABLE IF NOT EXISTS {links} (          -- array elements that refer to rows of another collection, by target ID
  collection text NOT NULL,
  lister text NOT NULL,
  listed text NOT NULL,
  position integer NOT NULL
);
CREATE INDEX IF NOT EXISTS {links_idx} ON {links} (collection, listed);

CREATE TABLE IF NOT EXISTS {member_lists} (   -- during a load: the _ids of a collection that belong to a row, per batch
  collection text NOT NULL,
  lister text NOT NULL,
  ids bytea NOT NULL                          -- ObjectIds of 12 bytes each
);
