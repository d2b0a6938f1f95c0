-- What the tool keeps for itself (contract.md: schema migrator). Names in braces are put in by journal.Place.
-- No unique key on the ledger: a dump may hold one _id twice, and both copies are documents to account for.

CREATE TABLE IF NOT EXISTS {runs} (
  run integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  status text NOT NULL,                       -- running | done | stopped
  started timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished timestamptz,
  version text NOT NULL,
  source text NOT NULL,                       -- a label, never a secret
  database text NOT NULL,                     -- the source's
  fingerprints jsonb NOT NULL,                -- source, config, mapping: a resume that differs is refused
  attempt integer NOT NULL DEFAULT 1          -- workers of an earlier attempt that still live may not commit
);

CREATE TABLE IF NOT EXISTS {steps} (
  step text PRIMARY KEY,
  run integer NOT NULL,
  began timestamptz NOT NULL DEFAULT now(),   -- of the transaction, where the step says nothing else
  finished timestamptz NOT NULL DEFAULT clock_timestamp(),
  detail jsonb
);

CREATE TABLE IF NOT EXISTS {partitions} (          -- pieces of collections that are read each by itself
  collection text NOT NULL,
  part integer NOT NULL,
  start text NOT NULL,
  stop text NOT NULL,
  streamed boolean NOT NULL,                  -- read only as a stream: one part
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
  began timestamptz NOT NULL DEFAULT now(),   -- of the transaction: translating is within
  committed timestamptz NOT NULL DEFAULT clock_timestamp(),
  worker integer NOT NULL DEFAULT pg_backend_pid(),
  PRIMARY KEY (collection, part, first_position)
);

CREATE UNLOGGED TABLE IF NOT EXISTS {heartbeats} (  -- who does what right now, for `status` and for holding back
  name text PRIMARY KEY,
  kind text NOT NULL,                         -- step | worker | throttle | rate_limit
  done bigint,
  total bigint,
  unit text,
  waiting text,                               -- what for; NULL while working
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended timestamptz
);

CREATE TABLE IF NOT EXISTS {own_transactions} (         -- our transactions: with a row's xmin they tell who wrote it last
  xid xid8 PRIMARY KEY DEFAULT pg_current_xact_id()
);

CREATE TABLE IF NOT EXISTS {foreign_edits} (        -- migrated rows that others had changed when we went on
  table_name text NOT NULL,
  id text NOT NULL,
  PRIMARY KEY (table_name, id)
);

CREATE TABLE IF NOT EXISTS {metadata} (
  collection text PRIMARY KEY,
  metadata bytea,                             -- mongodump's <collection>.metadata.json, as it was
  documents bigint,                           -- how many, and bytes of BSON, as far as the source can tell beforehand
  bytes bigint,
  origin text                                 -- where it comes from, if not from the database: a label, never a secret
);

CREATE TABLE IF NOT EXISTS {ledger} (
  collection text NOT NULL,
  source_id bytea NOT NULL,
  target_id text,
  outcome text NOT NULL,
  residue bytea
);

CREATE TABLE IF NOT EXISTS {rejects} (
  collection text NOT NULL,
  source_id bytea NOT NULL,
  reason text NOT NULL,
  detail text NOT NULL,
  document bytea NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
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

CREATE TABLE IF NOT EXISTS {aliases} (        -- ids that lead to another row than the one of that id
  collection text NOT NULL,
  claimed text NOT NULL,
  target text NOT NULL,
  owner text                                  -- for whose references it holds; NULL: for all
);
CREATE INDEX IF NOT EXISTS {aliases_idx} ON {aliases} (collection, claimed);

CREATE TABLE IF NOT EXISTS {links} (          -- arrays that name rows of another collection, by target ids
  collection text NOT NULL,
  lister text NOT NULL,
  listed text NOT NULL,
  position integer NOT NULL
);
CREATE INDEX IF NOT EXISTS {links_idx} ON {links} (collection, listed);

CREATE TABLE IF NOT EXISTS {member_lists} (        -- while loading: which _ids of a collection belong to which row, by batch
  collection text NOT NULL,
  lister text NOT NULL,
  ids bytea NOT NULL                          -- ObjectIds, 12 bytes each
);
