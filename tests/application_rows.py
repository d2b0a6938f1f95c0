"""Changes of rows as the application makes them after the switch."""

from __future__ import annotations

import random
from typing import Any, LiteralString

from psycopg import sql

from tests.reverse_rig import Switched

NEW_USER = """
    INSERT INTO users (tenant_id, email, name, role, created_at)
      SELECT tenant_id, 'new@example.com', 'New', 'user', now() FROM users LIMIT 1 RETURNING id, tenant_id
"""
NEW_MEMORY = """
    INSERT INTO memories (tenant_id, user_id, key, value) VALUES (%s, %s, 'drink', 'tea') RETURNING id
"""
NEW_TRANSACTION = """
    INSERT INTO transactions (tenant_id, user_id, amount, status, type)
    VALUES (%s, %s, 100, 'completed', 'one_time') RETURNING id
"""
NEW_COURSE = """
    INSERT INTO courses (tenant_id, title, instructor) VALUES (%s, 'New', 'Somebody') RETURNING id
"""
NEW_MODULE = """
    INSERT INTO modules (tenant_id, course_id, title) VALUES (%s, %s, 'New') RETURNING id
"""
NEW_CONVERSATION = """
    INSERT INTO conversations (tenant_id, user_id, title, provider, model) VALUES (%s, %s, 'New', 'openai', 'gpt-4o')
    RETURNING id
"""
NEW_MESSAGE = """
    INSERT INTO messages (tenant_id, conversation_id, parent_id, content, role, provider, model, completion_tokens)
    VALUES (%s, %s, %s, %s, %s, 'openai', 'gpt-4o', 7) RETURNING id
"""

NEWEST = """
    UPDATE conversations c SET last_message_at = (SELECT max(created_at) FROM messages WHERE conversation_id = c.id)
"""
FREE_PARENTS = """
    UPDATE messages SET parent_id = NULL WHERE parent_id IN (SELECT id FROM messages WHERE conversation_id = %s)
"""


def change_randomly(rig: Switched, chance: random.Random, number: int) -> None:
    """Makes one change as the application could."""
    run = rig.connection.execute

    def pick(table: LiteralString) -> Any:
        query = sql.SQL("SELECT id FROM {} ORDER BY md5(id::text || %s) LIMIT 1").format(sql.Identifier(table))
        return (run(query, (str(chance.random()),)).fetchone() or (None,))[0]

    user, talk, message = pick("users"), pick("conversations"), pick("messages")
    match chance.randrange(9):
        case 0:
            run("UPDATE conversations SET user_id = %s WHERE id = %s", (user, talk))
        case 1:
            run("UPDATE conversations SET provider = %s WHERE id = %s", (chance.choice(["openai", "anthropic"]), talk))
        case 2:
            run("UPDATE messages SET parent_id = NULL, conversation_id = %s WHERE id = %s", (talk, message))
        case 3:
            run("UPDATE messages SET parent_id = NULL WHERE parent_id = %s", (message,))
            run("DELETE FROM messages WHERE id = %s", (message,))
        case 4 | 5:
            (tenant,) = rig.read("SELECT tenant_id FROM conversations WHERE id = %s", talk)
            run(NEW_MESSAGE, (tenant, talk, None, f"New {number}", chance.choice(["user", "assistant"])))
        case 6:
            (tenant,) = rig.read("SELECT tenant_id FROM users WHERE id = %s", user)
            run(NEW_CONVERSATION, (tenant, user))
        case 7:
            run("UPDATE messages SET content = content || '!' WHERE conversation_id = %s", (talk,))
        case 8 if number > 40:
            run(FREE_PARENTS, (talk,))
            run("DELETE FROM conversations WHERE id = %s", (talk,))
