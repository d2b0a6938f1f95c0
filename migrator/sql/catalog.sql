-- The queries of postgres/catalog.py to pg_catalog. Parameter %(schema)s: the schema as a quoted identifier.
-- Definitions are pretty-printed: only then does PostgreSQL omit a schema that is in the search_path.

-- name: tables
SELECT c.relname AS name,
       CASE WHEN c.relkind = 'r' AND c.relpersistence = 'u' THEN 'unlogged table'
            ELSE CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                                WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END
       END AS kind,
       c.relrowsecurity AS row_security,
       c.relforcerowsecurity AS forced
  FROM pg_class c
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
 ORDER BY c.relname;

-- name: columns
SELECT c.relname AS "table",
       a.attname AS name,
       format_type(a.atttypid, a.atttypmod)
         || CASE WHEN a.attcollation <> t.typcollation THEN ' COLLATE ' || quote_ident(l.collname) ELSE '' END AS type,
       a.attnotnull OR t.typnotnull AS not_null,
       CASE WHEN a.attidentity <> '' THEN 'GENERATED AS IDENTITY ' || a.attidentity::text
            WHEN a.attgenerated <> '' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ')'
            ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), t.typdefault)
       END AS "default",
       row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum)::int AS position
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_collation l ON l.oid = a.attcollation
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
 ORDER BY c.relname, a.attnum;

-- name: constraints
SELECT c.relname AS "table",
       k.conname AS name,
       k.contype::text AS kind,
       regexp_replace(d.definition, ' NOT VALID$', '') AS definition,
       d.definition !~ ' NOT VALID$' AS validated
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
 CROSS JOIN LATERAL (SELECT pg_get_constraintdef(k.oid, true) AS definition) d
 WHERE c.relnamespace = %(schema)s::regnamespace AND k.contype IN ('p', 'u', 'f', 'c', 'x')
 ORDER BY c.relname, k.conname;

-- name: indexes
SELECT c.relname AS "table",
       n.relname AS name,
       pg_get_indexdef(i.indexrelid, 0, true) AS definition,
       i.indisunique AS "unique",
       i.indisvalid AND i.indisready AS valid
  FROM pg_index i
  JOIN pg_class n ON n.oid = i.indexrelid
  JOIN pg_class c ON c.oid = i.indrelid
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'm')
   -- In conindid, a foreign key has the index of the referenced table, which it does not own.
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
 ORDER BY n.relname;

-- name: enums
SELECT t.typname AS name, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
  FROM pg_type t
  JOIN pg_enum e ON e.enumtypid = t.oid
 WHERE t.typnamespace = %(schema)s::regnamespace
 GROUP BY t.typname
 ORDER BY t.typname;

-- name: domains
SELECT t.typname AS name,
       concat_ws(' ', format_type(t.typbasetype, t.typtypmod),
         CASE WHEN t.typcollation <> b.typcollation THEN 'COLLATE ' || quote_ident(l.collname) END,
         'DEFAULT ' || coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault), CASE WHEN t.typnotnull THEN 'NOT NULL' END,
         (SELECT string_agg(pg_get_constraintdef(k.oid, true), ' ' ORDER BY k.conname) FROM pg_constraint k
           WHERE k.contypid = t.oid AND k.contype = 'c')) AS definition
  FROM pg_type t
  JOIN pg_type b ON b.oid = t.typbasetype
  LEFT JOIN pg_collation l ON l.oid = t.typcollation
 WHERE t.typtype = 'd' AND t.typnamespace = %(schema)s::regnamespace
 ORDER BY t.typname;

-- name: policies
SELECT c.relname AS "table",
       p.polname AS name,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                     ELSE 'ALL' END AS command,
       ARRAY(SELECT CASE r.role WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r.role)::text END
               FROM unnest(p.polroles) AS r (role)
              ORDER BY 1) AS roles,
       p.polpermissive AS permissive,
       pg_get_expr(p.polqual, p.polrelid) AS "using",
       pg_get_expr(p.polwithcheck, p.polrelid) AS "check"
  FROM pg_policy p
  JOIN pg_class c ON c.oid = p.polrelid
 WHERE c.relnamespace = %(schema)s::regnamespace
 ORDER BY c.relname, p.polname;

-- name: relations
SELECT c.relname AS name,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'view'
                      WHEN 'f' THEN 'table' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type'
                      ELSE coalesce((SELECT 'index of ' || o.relname FROM pg_index i JOIN pg_class o ON o.oid = i.indrelid
                                      WHERE i.indexrelid = c.oid), 'relation') END AS bearer
  FROM pg_class c
 WHERE c.relnamespace = %(schema)s::regnamespace
 ORDER BY c.relname;

-- name: types
SELECT t.typname AS name,
       CASE WHEN t.typtype = 'e' THEN 'enum' WHEN t.typtype = 'd' THEN 'domain' WHEN t.typrelid <> 0 THEN 'row type'
            ELSE 'type' END AS bearer
  FROM pg_type t
 WHERE t.typnamespace = %(schema)s::regnamespace
 ORDER BY t.typname;

-- name: extensions
SELECT e.extname AS name, n.nspname AS bearer
  FROM pg_extension e
  JOIN pg_namespace n ON n.oid = e.extnamespace
 ORDER BY e.extname;
