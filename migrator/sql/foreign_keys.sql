-- name: foreign_keys
-- Every foreign key of the database. `operators`: parent = child, for each column. `sets_null`: ON DELETE SET NULL or SET DEFAULT.
SELECT cn.nspname AS child_schema, c.relname AS child_table,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, ordinal)
               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.ordinal) AS child_columns,
       pn.nspname AS parent_schema, p.relname AS parent_table,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (number, ordinal)
               JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.ordinal) AS parent_columns,
       ARRAY(SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
               FROM unnest(k.conpfeqop) WITH ORDINALITY AS u (id, ordinal)
               JOIN pg_operator o ON o.oid = u.id JOIN pg_namespace n ON n.oid = o.oprnamespace ORDER BY u.ordinal) AS operators,
       k.confdeltype IN ('n', 'd') AS sets_null
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class p ON p.oid = k.confrelid
  JOIN pg_namespace pn ON pn.oid = p.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0
 ORDER BY 1, 2, k.conname;

-- name: primary_key
SELECT a.attname::text
  FROM pg_index i
 CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS u (number, ordinal)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
 WHERE i.indisprimary AND i.indrelid = %(relation)s::regclass
 ORDER BY u.ordinal;
