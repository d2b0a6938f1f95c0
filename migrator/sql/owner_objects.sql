-- The objects of the target's owner on the tables of the migration, for postgres/owner_objects.py.
-- Parameter %(tables)s: the names of tables in schema public.

-- name: triggers
-- Triggers and rules that fire on INSERT, UPDATE or DELETE. `enabled`: O (origin), A (always) or R (replica).
SELECT 'trigger' AS kind, c.relname AS "table", t.tgname AS name, t.tgenabled::text AS enabled
  FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%(tables)s)
   AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 28 <> 0
 UNION ALL
SELECT 'rule', c.relname, r.rulename, r.ev_enabled::text
  FROM pg_rewrite r
  JOIN pg_class c ON c.oid = r.ev_class
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%(tables)s)
   AND r.ev_type <> '1' AND r.ev_enabled <> 'D'
 ORDER BY 2, 1 DESC, 3;

-- name: constraints
-- Check, unique, exclusion and foreign key constraints, each with the statement that adds it. `internal`: whether
-- PostgreSQL enforces it with internal triggers. `columns`: those of the table that it uses.
SELECT 'constraint' AS kind, c.relname AS "table", k.conname AS name,
       format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', c.oid::regclass, k.conname,
         regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '')) AS definition,
       k.contype = 'f' OR (k.condeferrable AND k.contype IN ('u', 'x')) AS internal,
       k.contype::text AS type, c.oid::regclass::text AS relation,
       CASE WHEN k.contype = 'f' THEN k.confrelid::regclass::text END AS parent,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = k.conrelid AND a.attnum > 0 AND (a.attnum = ANY (k.conkey)
                 OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = k.conindid
                               AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum))) AS columns
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%(tables)s)
   AND k.contype IN ('c', 'u', 'x', 'f') AND k.conparentid = 0
 ORDER BY c.relname, k.conname;

-- name: indexes
-- Indexes that belong to no constraint.
SELECT 'index' AS kind, c.relname AS "table", n.relname AS name, pg_get_indexdef(i.indexrelid) AS definition,
       false AS internal, CASE WHEN i.indisunique THEN 'u' ELSE 'i' END AS type,
       c.oid::regclass::text AS relation, NULL AS parent,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = i.indrelid AND a.attnum > 0 AND (a.attnum = ANY (i.indkey::int2[])
                 OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                               AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum))) AS columns
  FROM pg_index i
  JOIN pg_class n ON n.oid = i.indexrelid
  JOIN pg_class c ON c.oid = i.indrelid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%(tables)s) AND i.indisready
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
 ORDER BY c.relname, n.relname;

-- name: columns
-- All columns, each with the statement that adds it, without NOT NULL.
SELECT c.relname AS "table", a.attname AS name,
       format('ALTER TABLE %%s ADD COLUMN %%I %%s', c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod))
         || CASE WHEN a.attgenerated <> '' THEN format(' GENERATED ALWAYS AS (%%s) STORED', pg_get_expr(d.adbin, d.adrelid))
                 WHEN d.adbin IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) ELSE '' END AS definition
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%(tables)s)
 ORDER BY c.relname, a.attnum;

-- name: event_triggers
SELECT e.evtname AS name FROM pg_event_trigger e WHERE e.evtenabled IN ('O', 'A') AND e.evtevent <> 'login'
 ORDER BY e.evtname;

-- name: publications
-- Publications that replicate every table, so that they also cover those that the migration creates.
SELECT p.pubname AS name FROM pg_publication p WHERE p.puballtables ORDER BY p.pubname;

-- name: written
-- The tables to which the current transaction has written.
SELECT t.relid::regclass::text AS name FROM pg_stat_xact_user_tables t
 WHERE t.n_tup_ins + t.n_tup_upd + t.n_tup_del > 0
 ORDER BY 1;
