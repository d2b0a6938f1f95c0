"""The text `migrate init` writes; `migrate.toml.example` at the project's root is the same, byte for byte.

Not here: what the keys mean to the program (config.py).
"""

STARTER = """\
# migrate.toml: what to migrate, where to, and by which rules.
#
# ${VAR} in a string is taken from the environment ($${ is a plain ${). A variable MIGRATE_SECTION__KEY overrides any
# key below, for example MIGRATE_TARGET__URL. Relative paths start at the folder of this file. A line that is commented
# out shows the default, unless it says otherwise.

[source]
# The MongoDB database: "dump:PATH" is a mongodump folder (.bson or .bson.gz) or a mongodump --archive file, gzip or
# not.
url = "dump:fixtures/demo"
# A live server instead (mongodb:// or mongodb+srv://):
# url = "mongodb://reader:${MONGO_PASSWORD}@localhost:27017"
# The database to read; may be left out where the source holds one only. No default.
# database = "LibreChat"

[target]
# The PostgreSQL database: "embedded:FOLDER" is a bundled PostgreSQL with pgvector that keeps its data in that folder.
url = "embedded:.migrate/postgres"
# A server instead (PostgreSQL 14 or later):
# url = "postgresql://migrate:${PGPASSWORD}@localhost:5432/app"
# Row-level security by tenant: "all" puts it on every table with a tenant_id, "off" on none.
# rls = "all"

[tenant]
# The id (a UUID) of the tenant that everything migrated belongs to.
# id = "0190b5a0-0000-7000-8000-000000000001"
# The name of that tenant.
# name = "Default"
# The subdomain of that tenant.
# subdomain = "default"

# Session recordings to merge into the modules; without this section nothing is merged.
# [recordings]
# Where they are: "postgresql://…" is the Supabase database (a user who may read is enough), "csv:FILE" the exported
# table. No default.
# url = "csv:recordings.csv"
# The table that holds them, where url is a database: "recordings" or "schema.recordings".
# table = "recordings"
# Who wins where a module and its recording both have a value: "module" or "recording".
# prefer = "module"
# Columns that have another name there, by the names that the mapping knows: { id = "uuid" }.
# columns = {}

# Chunks of the files' texts for document_chunks; without this section there are none.
# [chunks]
# Where they are: "postgresql://…" is the RAG API's database, "jsonl:FILE" an export (one JSON object a line, with
# file_id and content), "files:FOLDER" the files themselves (needs: pip install "migrate[files]"). No default.
# url = "jsonl:chunks.jsonl"
# Which collection of the RAG API's store to read (COLLECTION_NAME there); left out: all. No default.
# collection = "testcollection"
# How many characters a chunk has that is cut out of a file.
# size = 1500
# How many of them it repeats from the chunk before.
# overlap = 100

[embedding]
# Who computes embeddings that are missing: "openai" (any OpenAI-compatible endpoint), "local" (offline, for trying out;
# needs `pip install 'migrate[local]'`) or "none" (`migrate embed` fills them later).
# provider = "none"
# The endpoint for provider "openai".
# base_url = "https://api.openai.com/v1"
# The key for that endpoint; keep it in the environment. No default.
# api_key = "${OPENAI_API_KEY}"
# The model to ask for.
# model = "text-embedding-3-small"
# The length of its vectors.
# dimensions = 1536
# How many requests may be under way at once.
# concurrency = 8
# How many texts go into one request at most; what a service takes differs.
# batch = 128
# How many tokens a text may have; a longer one is embedded in pieces, and gets the mean of their vectors.
# input_tokens = 8000
# What a million tokens cost in US dollars; left out: what OpenAI takes for its own models. No default.
# usd_per_million = 0.02

[policies]
# What happens to content whose user is gone: "reject", or the e-mail of a user who takes it over.
# orphan_owner = "reject"
# What happens to a second account with the same e-mail: "reject", or "merge" its content into the earlier one.
# duplicate_email = "reject"
# What happens to collections without a table: "archive" keeps them whole in migrator.archive, "ignore" leaves them out.
# unmapped_collections = "archive"

[transactions]
# What `amount` counts in the source: "cents" or "major" (dollars, euros).
# amount_unit = "cents"

# How a stored file's address becomes provider, key and url: rules in order, the first match wins; without any rule all
# three stay as they are. $1 is the first group of `match`, $0 the whole match.
# [[storage]]
# The files' `source` the rule is for; left out: every source. No default.
# source = "local"
# The provider they have in the target. No default.
# provider = "r2"
# A regular expression over the file's path.
# match = "^/uploads/(.*)$"
# The key in the new storage. No default.
# key = "uploads/$1"
# The address in the new storage. No default.
# url = "https://cdn.example.com/uploads/$1"

[engine]
# How many processes translate and load; 0 is one per core.
# workers = 0
# How many documents make a batch, the unit that is committed and resumed.
# batch_rows = 5000
# How many bytes of a collection make a part, the unit that is handed to a worker; 0 is as suits the source.
# part_bytes = 0
# No more documents a second than this, all workers together; 0 is as fast as it goes.
# max_rows_per_second = 0
# Loading waits while a replica of the target is more seconds behind than this; 0 is never.
# max_replication_lag_seconds = 0
# Loading waits while a live source takes more milliseconds than this to answer a small question; 0 is never.
# max_source_latency_ms = 0
# Where the workers run: "local", or "dask://HOST:PORT" for the workers of a Dask cluster (pip install 'migrate[dask]';
# the same packages on all of them, and source and target within their reach; start them with --nthreads 1).
# executor = "local"

[migration]
# The Python package with the mappings, one module a collection.
# mappings = "mappings"
# The Python package with the target's tables.
# schema = "schema"
"""
