"""Targets as a migration may find them, and what to compare before and after. For the tests of the schema's stages."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import psycopg

from migrator.targets.bundled import program_path

Connection = psycopg.Connection[Any]

CONTRACT = (Path(__file__).parents[2] / "fixtures" / "target-schema.sql").read_text()
OTHERS = "0190b5a0-0000-7000-8000-00000000000a"  # a tenant that was there before
OURS = "0190b5a0-0000-7000-8000-00000000000b"  # the one that is migrated

# What an owner may have added or left: all of it has to be there afterwards, as it was.
OWNERS = """
CREATE INDEX messages_model_idx ON messages (lower(model) text_pattern_ops DESC NULLS LAST) WITH (fillfactor = 70)
  WHERE model IS NOT NULL;
COMMENT ON INDEX messages_model_idx IS 'it''s the owner''s; really';
COMMENT ON CONSTRAINT messages_parent_id_messages_id_fk ON messages IS 'a tree';
ALTER TABLE files DROP CONSTRAINT files_user_id_users_id_fk;
ALTER TABLE files ADD CONSTRAINT files_user_id_users_id_fk
  FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE NOT VALID;
COMMENT ON CONSTRAINT files_user_id_users_id_fk ON files IS 'not yet';
ALTER TABLE memories ADD CONSTRAINT "100% ""odd"" key" FOREIGN KEY (source_id) REFERENCES conversations
  DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX "100%%s" ON files (filename) WHERE filename LIKE '%.pdf';
CREATE INDEX courses_title_idx ON courses (title);
ALTER TABLE courses CLUSTER ON courses_title_idx;
CREATE TABLE "Odd ""notes" (id uuid PRIMARY KEY, "user" uuid REFERENCES users DEFERRABLE INITIALLY DEFERRED, plan tier);
CREATE INDEX "Odd ""idx" ON users ("name", lower(email));
CREATE VIEW pros AS SELECT id, email FROM users WHERE tier = 'pro';
"""

# A schema that lacks something of every kind.
PARTLY = """
DROP TABLE messages, document_chunks, modules;
DROP EXTENSION vector;
DROP INDEX conversations_user_id_idx, users_email_idx;
ALTER TABLE users DROP CONSTRAINT users_email_unique;
ALTER TABLE conversations DROP CONSTRAINT conversations_user_id_users_id_fk;
ALTER TABLE memories DROP CONSTRAINT memories_pkey;
ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
"""

ROWS = """
INSERT INTO tenants (id, name, subdomain) VALUES (%(tenant)s, 'T', %(tenant)s);
INSERT INTO users (id, tenant_id, email) VALUES (%(tenant)s, %(tenant)s, %(tenant)s);
INSERT INTO conversations (id, tenant_id, user_id, provider, model) VALUES (%(tenant)s, %(tenant)s, %(tenant)s, '', '');
INSERT INTO files (id, tenant_id, user_id, filename, original_name, mime_type, size, storage_provider, storage_key, url)
  VALUES (%(tenant)s, %(tenant)s, %(tenant)s, '', '', '', 1, '', '', '');
INSERT INTO memories (tenant_id, user_id, key, value) VALUES (%(tenant)s, %(tenant)s, 'k', 'a value to find');
"""
TREE = """
INSERT INTO messages (id, tenant_id, conversation_id, content, role, parent_id)
  VALUES (gen_random_uuid(), %(tenant)s, %(tenant)s, 'an answer', 'assistant', %(tenant)s);
INSERT INTO messages (id, tenant_id, conversation_id, content, role)
  VALUES (%(tenant)s, %(tenant)s, %(tenant)s, 'a question', 'user');
"""

STARTS = ("empty", "whole", "owned", "used", "partly")


def connected(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True)


def set_up(connection: Connection, start: str) -> None:
    """Makes the target one of STARTS: no schema; the contract; with its owner's additions; with rows; with gaps."""
    if start == "empty":
        return
    connection.execute(CONTRACT)
    if start in ("owned", "used"):
        connection.execute(OWNERS)
    if start == "used":
        with connection.transaction():
            connection.execute("ALTER TABLE messages ALTER CONSTRAINT messages_parent_id_messages_id_fk DEFERRABLE")
            connection.execute("SET CONSTRAINTS ALL DEFERRED")
            add_rows(connection, OTHERS)
        connection.execute("ALTER TABLE messages ALTER CONSTRAINT messages_parent_id_messages_id_fk NOT DEFERRABLE")
    if start == "partly":
        connection.execute(PARTLY)


def add_rows(connection: Connection, tenant: str) -> None:
    """A tenant with a row or two in most tables; of its two messages the child comes first."""
    cursor = psycopg.ClientCursor(connection)
    cursor.execute(ROWS + TREE, {"tenant": tenant})


def remove_rows(connection: Connection, tenant: str) -> None:
    """As a revert does it, children first."""
    for table in ("messages", "memories", "files", "conversations", "users"):
        connection.execute(f"DELETE FROM {table} WHERE tenant_id = %s", (tenant,))  # noqa: S608
    connection.execute("DELETE FROM tenants WHERE id = %s", (tenant,))


def dump(url: str) -> str:
    """The schema as pg_dump writes it, without the random key of this very dump."""
    command = [str(program_path("pg_dump")), "--schema-only", "--dbname", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
