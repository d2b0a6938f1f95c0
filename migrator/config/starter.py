"""The text that `migrate init` writes: the settings of the engine, and those of a package of mappings.

`migrate.toml.example` at the root of the repository is the text with the settings of the example's mappings. Not here:
the meaning of the keys to the program (models.py), and the example project (example.py).
"""

from __future__ import annotations

from pathlib import Path

OWN_SETTINGS = "settings.toml"  # the file in a package of mappings that describes its settings, in this form
_LAST_KEY = '# max_rejected = "2%"\n'  # of [policies]
_NEXT = "[engine]\n"


def compose_starter(mappings: Path) -> str:
    """Returns the starter text for the mappings in a folder: policies and sections of theirs are added.

    Raises: `OSError` if their file exists and cannot be read.
    """
    file = mappings / OWN_SETTINGS
    text = STARTER
    for block in file.read_text(encoding="utf-8").split("\n\n")[1:] if file.is_file() else ():
        if block.startswith("[policies]\n"):
            text = text.replace(_LAST_KEY, _LAST_KEY + block.partition("\n")[2].rstrip() + "\n", 1)
        else:
            text = text.replace(_NEXT, block.rstrip() + "\n\n" + _NEXT, 1)
    return text


STARTER = """\
# Configuration of migrate: source, target and options.
#
# ${VAR} in a string is replaced by the environment variable VAR; write $${ for a literal ${. An environment variable
# MIGRATE_SECTION__KEY overrides a key below, for example MIGRATE_TARGET__URL. Relative paths start at the folder of
# this file. A key that is commented out shows its default value, unless the text says "No default".

[source]
# The MongoDB database. "dump:PATH" is a mongodump folder (.bson or .bson.gz) or a mongodump --archive file, compressed
# or not.
url = "dump:dump"
# A live server instead (mongodb:// or mongodb+srv://):
# url = "mongodb://reader:${MONGO_PASSWORD}@localhost:27017"
# The database to read. Optional if the source holds one database only. No default.
# database = "app"

[target]
# The PostgreSQL database. "embedded:FOLDER" is a bundled PostgreSQL with pgvector that stores its data in that folder.
url = "embedded:.migrate/postgres"
# A server instead (PostgreSQL 14 or later):
# url = "postgresql://migrate:${PGPASSWORD}@localhost:5432/app"
# Row-level security by tenant: "all" enables it on every table with a tenant_id, "off" on none.
# rls = "all"

[tenant]
# The ID (a UUID) of the tenant that all migrated data belongs to.
# id = "0190b5a0-0000-7000-8000-000000000001"
# The name of that tenant.
# name = "Default"
# The subdomain of that tenant.
# subdomain = "default"

[embedding]
# Which provider computes missing embeddings: "openai" (any OpenAI-compatible endpoint), "local" (offline, for
# evaluation; requires: pip install 'mongo-to-postgres[local]') or "none" (run `migrate embed` later).
# provider = "none"
# The endpoint for provider "openai".
# base_url = "https://api.openai.com/v1"
# The API key for that endpoint. Keep it in an environment variable. No default.
# api_key = "${OPENAI_API_KEY}"
# The name of the model.
# model = "text-embedding-3-small"
# The number of dimensions of its vectors.
# dimensions = 1536
# The maximum number of concurrent requests.
# concurrency = 8
# The maximum number of texts in one request. Services have different limits.
# batch = 128
# The maximum number of tokens in one text. A longer text is embedded in pieces; its vector is the mean of theirs.
# input_tokens = 8000
# The price of one million tokens in US dollars. Without this key the list price of OpenAI's models is used. No default.
# usd_per_million = 0.02

[policies]
# Collections without a table: "archive" stores their original documents in migrator.archive, "ignore" skips them.
# unmapped_collections = "archive"
# The most documents that may be rejected: a number, or a percentage of all documents. If more are rejected, `plan`
# reports a blocker, and `run` stops before it creates indexes (exit code 8). Without this key there is no limit. No
# default.
# max_rejected = "2%"

[engine]
# The number of worker processes. 0: one per CPU core.
# workers = 0
# The number of documents in a batch. A batch is committed, and resumed, as a unit.
# batch_rows = 5000
# The size of a partition in bytes. A partition is the part of a collection that one worker reads. 0: automatic.
# part_bytes = 0
# The rate limit in documents per second, for all workers together. 0: unlimited.
# max_rows_per_second = 0
# Loading pauses while a replica of the target is more than this number of seconds behind. 0: never.
# max_replication_lag_seconds = 0
# Loading pauses while a live source needs more than this number of milliseconds to answer a ping. 0: never.
# max_source_latency_ms = 0
# Where the workers run: "local", or "dask://HOST:PORT" for the workers of a Dask cluster (requires: pip install
# 'mongo-to-postgres[dask]'). All workers need the same packages and network access to source and target; start them
# with --nthreads 1.
# executor = "local"

# The switch of the application to PostgreSQL: `migrate cutover`. Hooks are shell commands that start in the folder of
# this file. They get the environment variables MIGRATE_STEP (stop, resume or switch), MIGRATE_DIRECTION (forward or
# back), MIGRATE_DRY_RUN (0 or 1) and MIGRATE_REASON; their output goes to the log. Exit code 0 means success.
# [cutover]
# How writes of the application are stopped: "manual" waits for the operator, "hook" calls stop_hook, "block" lets
# MongoDB 6.0 or later refuse all writes to the server (setUserWriteBlockMode).
# stop_writes = "manual"
# Stops all writes of the application, and returns when they have stopped. Required for "hook". No default.
# stop_hook = "kubectl scale deployment/app --replicas=0 && kubectl wait --for=delete pod -l app=app"
# Allows the writes again, to the same database. It is called if a cutover is undone. Required for "hook". No default.
# resume_hook = "kubectl scale deployment/app --replicas=3"
# Moves the application to the other database and starts it. Without it the operator does that. No default.
# switch_hook = "kubectl set env deployment/app DATABASE=postgres && kubectl scale deployment/app --replicas=3"
# The number of seconds after which a hook is ended and counts as failed.
# hook_timeout_seconds = 60
# A cutover begins only if the target is at most this number of seconds behind.
# max_lag_seconds = 2
# The most seconds without writes. A cutover that needs longer is undone.
# max_downtime_seconds = 30
# If something else has changed a document in MongoDB after the switch: "target" writes the row and keeps the document
# in migrator.conflicts, "stop" ends the return of changes.
# on_conflict = "target"

[migration]
# The Python package with the mappings, one module per collection. It is searched in the folder of this file first.
# mappings = "mappings"
# The Python package with the tables of the target. It is searched in the folder of this file first.
# schema = "schema"
"""
