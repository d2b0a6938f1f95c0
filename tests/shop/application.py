"""Changes of the rows of the shop as an application makes them after the switch: of orders and of their elements."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.reverse_rig import Switched

NEW_ITEM = """
    INSERT INTO order_items (id, order_id, position, product_id, quantity, price)
      SELECT gen_random_uuid(), %(order)s, %(step)s + coalesce(
               (SELECT {edge}(position) FROM order_items WHERE order_id = %(order)s), 0
             ), id, %(number)s, %(number)s + 0.5 FROM products ORDER BY md5(id::text || %(number)s) LIMIT 1
"""
NEW_DISCOUNT = """
    INSERT INTO discounts (item_id, position, code, percent)
      SELECT %(item)s, coalesce(max(position), 0) + 2, 'new', %(number)s FROM discounts WHERE item_id = %(item)s
"""
NEW_TAG = """
    INSERT INTO order_tags (order_id, position, tag_id)
      SELECT %(order)s, coalesce((SELECT max(position) FROM order_tags WHERE order_id = %(order)s), -1) + 1, id
        FROM tags ORDER BY md5(id::text || %(number)s) LIMIT 1
"""
NEW_ATTRIBUTE = """
    INSERT INTO product_attributes (product_id, position, name, value)
      SELECT %(product)s, coalesce(max(position), -1) + 1, 'new ' || %(number)s, 'value'
        FROM product_attributes WHERE product_id = %(product)s
"""
SWAPPED = """
    UPDATE order_items i SET position = 1000 + s.high - s.low - i.position + s.low
      FROM (SELECT order_id, min(position) AS low, max(position) AS high FROM order_items GROUP BY 1) s
     WHERE s.order_id = i.order_id AND i.order_id = %(order)s
"""


def change_shop(rig: Switched, chance: random.Random, number: int) -> str:
    """Makes one change, and returns what it was."""

    def pick(table: LiteralString, column: LiteralString = "id") -> Any:
        query = sql.SQL("SELECT {} FROM {} ORDER BY md5({}::text || %s) LIMIT 1").format(
            sql.Identifier(column), sql.Identifier(table), sql.Identifier(column)
        )
        return (rig.connection.execute(query, (str(chance.random()),)).fetchone() or (None,))[0]

    values = {
        "order": pick("orders"), "item": pick("order_items"), "product": pick("products"), "other": pick("orders"),
        "tag": pick("tags"), "number": number, "step": chance.choice((1, 1, 4)), "code": chance.choice((None, "c")),
    }  # fmt: skip
    name = chance.choice(sorted(CHANGES))
    with suppress(psycopg.errors.UniqueViolation), rig.connection.transaction():  # the place is taken
        for statement in CHANGES[name]:
            rig.connection.execute(statement, values)
    return name


CHANGES: dict[str, list[LiteralString]] = {
    "change an item": ["UPDATE order_items SET quantity = %(number)s, price = price + 0.25 WHERE id = %(item)s"],
    "other product": ["UPDATE order_items SET product_id = %(product)s WHERE id = %(item)s"],
    "delete an item": [
        "DELETE FROM discounts WHERE item_id = %(item)s",
        "DELETE FROM order_items WHERE id = %(item)s",
    ],
    "add an item": [NEW_ITEM.replace("{edge}", "max")],
    "add an item before the others": [NEW_ITEM.replace("{edge}", "min").replace("%(step)s +", "-1 +")],
    "turn the order of items": [SWAPPED],
    "move an item": [
        "UPDATE order_items SET order_id = %(other)s, position = 500 + %(number)s WHERE id = %(item)s"
    ],
    "change a discount": ["UPDATE discounts SET percent = %(number)s, code = %(code)s WHERE item_id = %(item)s"],
    "delete discounts": ["DELETE FROM discounts WHERE item_id = %(item)s"],
    "add a discount": [NEW_DISCOUNT, NEW_DISCOUNT],
    "change a payment": ["UPDATE payments SET method = 'm' || %(number)s WHERE order_id = %(order)s"],
    "delete a payment": ["DELETE FROM payments WHERE order_id = %(order)s"],
    "add a payment": [
        "INSERT INTO payments VALUES (%(order)s, 'cash', '2024-05-01')"
        " ON CONFLICT (order_id) DO UPDATE SET paid_at = NULL"
    ],
    "add a tag": [NEW_TAG, NEW_TAG],
    "delete a tag": ["DELETE FROM order_tags WHERE order_id = %(order)s AND position = 0"],
    "other tag": ["UPDATE order_tags SET tag_id = %(tag)s WHERE order_id = %(order)s AND position = 1"],
    "add an attribute": [NEW_ATTRIBUTE],
    "change attributes": ["UPDATE product_attributes SET value = 'v' || %(number)s WHERE product_id = %(product)s"],
    "rename attributes": ["UPDATE product_attributes SET name = name || '~' WHERE product_id = %(product)s"],
    "delete attributes": ["DELETE FROM product_attributes WHERE product_id = %(product)s AND position < 2"],
    "change an order": ["UPDATE orders SET number = %(number)s WHERE id = %(order)s"],
    "delete an order": [
        "DELETE FROM discounts WHERE item_id IN (SELECT id FROM order_items WHERE order_id = %(order)s)",
        "DELETE FROM order_items WHERE order_id = %(order)s",
        "DELETE FROM payments WHERE order_id = %(order)s",
        "DELETE FROM order_tags WHERE order_id = %(order)s",
        "DELETE FROM orders WHERE id = %(order)s",
    ],
    "new order": [
        "INSERT INTO orders (id, number, placed_at) VALUES (gen_random_uuid(), %(number)s, '2024-05-01')",
        "INSERT INTO order_items SELECT gen_random_uuid(), o.id, n, p.id, 1, 0.5 FROM generate_series(0, 2) n,"
        " (SELECT id FROM orders WHERE number = %(number)s LIMIT 1) o, (SELECT id FROM products LIMIT 1) p"
        " WHERE NOT EXISTS (SELECT FROM order_items WHERE order_id = o.id)",
        "INSERT INTO discounts SELECT i.id, 0, 'first', 3 FROM order_items i JOIN orders o ON o.id = i.order_id"
        " WHERE o.number = %(number)s ON CONFLICT DO NOTHING",
    ],
}  # fmt: skip
