-- The objects of the target's owner on the tables of the migration, for postgres/owner_objects.py.
-- Parameter %(tables)s: the names of tables. TABLE_NAME(alias) is the name of a table (postgres/table_names.py).

-- name: triggers
-- Triggers and rules that fire on INSERT, UPDATE or DELETE, but not those of a switch, whose functions are in schema
-- migrator. `enabled`: O (origin), A (always) or R (replica).
SELECT 'trigger' AS kind, TABLE_NAME(c) AS "table", t.tgname AS name, t.tgenabled::text AS enabled
  FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid
 WHERE TABLE_NAME(c) = ANY (%(tables)s)
   AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 28 <> 0
   AND NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = t.tgfoid AND p.pronamespace = to_regnamespace('migrator'))
 UNION ALL
SELECT 'rule', TABLE_NAME(c), r.rulename, r.ev_enabled::text
  FROM pg_rewrite r
  JOIN pg_class c ON c.oid = r.ev_class
 WHERE TABLE_NAME(c) = ANY (%(tables)s)
   AND r.ev_type <> '1' AND r.ev_enabled <> 'D'
 ORDER BY 2, 1 DESC, 3;

-- name: constraints
-- Check, unique, exclusion and foreign key constraints, each with the statement that adds it. `internal`: whether
-- PostgreSQL enforces it with internal triggers. `columns`: those of the table that it uses.
SELECT 'constraint' AS kind, TABLE_NAME(c) AS "table", k.conname AS name,
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
 WHERE TABLE_NAME(c) = ANY (%(tables)s)
   AND k.contype IN ('c', 'u', 'x', 'f') AND k.conparentid = 0
 ORDER BY c.relname, k.conname;

-- name: indexes
-- Indexes that belong to no constraint.
SELECT 'index' AS kind, TABLE_NAME(c) AS "table", n.relname AS name, pg_get_indexdef(i.indexrelid) AS definition,
       false AS internal, CASE WHEN i.indisunique THEN 'u' ELSE 'i' END AS type,
       c.oid::regclass::text AS relation, NULL AS parent,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = i.indrelid AND a.attnum > 0 AND (a.attnum = ANY (i.indkey::int2[])
                 OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                               AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum))) AS columns
  FROM pg_index i
  JOIN pg_class n ON n.oid = i.indexrelid
  JOIN pg_class c ON c.oid = i.indrelid
 WHERE TABLE_NAME(c) = ANY (%(tables)s) AND i.indisready
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
 ORDER BY c.relname, n.relname;

-- name: columns
-- All columns, each with the statement that adds it, without NOT NULL.
SELECT TABLE_NAME(c) AS "table", a.attname AS name,
       format('ALTER TABLE %%s ADD COLUMN %%I %%s', c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod))
         || CASE WHEN a.attgenerated <> '' THEN format(' GENERATED ALWAYS AS (%%s) %%s', pg_get_expr(d.adbin, d.adrelid),
                   CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
                 WHEN d.adbin IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) ELSE '' END AS definition
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE TABLE_NAME(c) = ANY (%(tables)s)
 ORDER BY c.relname, a.attnum;

-- name: event_triggers
SELECT e.evtname AS name FROM pg_event_trigger e WHERE e.evtenabled IN ('O', 'A') AND e.evtevent <> 'login'
 ORDER BY e.evtname;

-- name: login_triggers
SELECT e.evtname AS name FROM pg_event_trigger e WHERE e.evtenabled IN ('O', 'A') AND e.evtevent = 'login'
 ORDER BY e.evtname;

-- name: subscriptions
-- Enabled subscriptions that write to the tables.
SELECT s.subname AS name, string_agg(TABLE_NAME(c), ', ' ORDER BY c.relname) AS tables
  FROM pg_subscription_rel r
  JOIN pg_subscription s ON s.oid = r.srsubid
  JOIN pg_class c ON c.oid = r.srrelid
 WHERE s.subenabled AND TABLE_NAME(c) = ANY (%(tables)s)
 GROUP BY s.subname
 ORDER BY s.subname;

-- name: publications
-- Publications that replicate every table, so that they also cover those that the migration creates.
SELECT p.pubname AS name FROM pg_publication p WHERE p.puballtables ORDER BY p.pubname;

-- name: written
-- The tables to which the current transaction has written.
SELECT t.relid::regclass::text AS name FROM pg_stat_xact_user_tables t
 WHERE t.n_tup_ins + t.n_tup_upd + t.n_tup_del > 0
 ORDER BY 1;

-- name: not_owned
-- The tables whose owner's privileges the role does not have: it cannot change their schema.
SELECT TABLE_NAME(c) AS "table", pg_get_userbyid(c.relowner)::text AS owner, current_user::text AS role,
       o.rolsuper AS super
  FROM pg_class c
  JOIN pg_roles o ON o.oid = c.relowner
 WHERE TABLE_NAME(c) = ANY (%(tables)s) AND c.relkind = 'r'
   AND NOT pg_has_role(c.relowner, 'USAGE')
 ORDER BY c.relname;

-- name: revoked
-- Privileges on the tables that the role does not have. Even the owner of a table can lack them.
SELECT TABLE_NAME(c) AS "table", p.privilege, current_user::text AS role
  FROM pg_class c
 CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) WITH ORDINALITY AS p (privilege, place)
 WHERE TABLE_NAME(c) = ANY (%(tables)s) AND c.relkind = 'r'
   AND pg_has_role(c.relowner, 'USAGE') AND NOT has_table_privilege(c.oid, p.privilege)
 ORDER BY c.relname, p.place;

-- name: denied
-- Sequences and functions that defaults, checks and indexes of the tables use, and that the role may not use.
WITH part (class, id, "table") AS (
  SELECT 'pg_attrdef'::regclass, d.oid, TABLE_NAME(c) FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
   WHERE TABLE_NAME(c) = ANY (%(tables)s)
   UNION ALL
  SELECT 'pg_constraint'::regclass, k.oid, TABLE_NAME(c) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
   WHERE TABLE_NAME(c) = ANY (%(tables)s) AND k.contype = 'c'
   UNION ALL
  SELECT 'pg_class'::regclass, i.indexrelid, TABLE_NAME(c) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
   WHERE TABLE_NAME(c) = ANY (%(tables)s)
)
SELECT DISTINCT p."table", 'sequence' AS kind, s.oid::regclass::text AS name, 'USAGE' AS privilege,
       current_user::text AS role
  FROM part p
  JOIN pg_depend d ON d.classid = p.class AND d.objid = p.id AND d.refclassid = 'pg_class'::regclass
  JOIN pg_class s ON s.oid = d.refobjid
 WHERE CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') END
 UNION
SELECT p."table", 'function', f.oid::regprocedure::text, 'EXECUTE', current_user::text
  FROM part p
  JOIN pg_depend d ON d.classid = p.class AND d.objid = p.id AND d.refclassid = 'pg_proc'::regclass
  JOIN pg_proc f ON f.oid = d.refobjid
 WHERE NOT has_function_privilege(f.oid, 'EXECUTE')
 ORDER BY 1, 2, 3;

-- name: children
-- The tables that inherit from the tables, partitions excepted.
SELECT TABLE_NAME(c) AS "table", h.oid::regclass::text AS child
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhparent AND c.relkind = 'r'
  JOIN pg_class h ON h.oid = i.inhrelid
 WHERE TABLE_NAME(c) = ANY (%(tables)s)
 ORDER BY 1, 2;

-- name: functions_used
-- The functions of the owner that constraints, indexes and generated columns use: table, name of the object, function.
SELECT TABLE_NAME(c) AS "table", k.conname AS name, d.refobjid AS function
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid AND d.refclassid = 'pg_proc'::regclass
 WHERE TABLE_NAME(c) = ANY (%(tables)s) AND k.contype = 'c'
 UNION ALL
SELECT TABLE_NAME(c), n.relname, d.refobjid
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class n ON n.oid = i.indexrelid
  JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = n.oid AND d.refclassid = 'pg_proc'::regclass
 WHERE TABLE_NAME(c) = ANY (%(tables)s)
 UNION ALL
SELECT TABLE_NAME(c), a.attname, d.refobjid
  FROM pg_attrdef e JOIN pg_class c ON c.oid = e.adrelid
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = e.adnum
  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid AND d.refclassid = 'pg_proc'::regclass
 WHERE TABLE_NAME(c) = ANY (%(tables)s);

-- name: function_bodies
-- The SQL and PL/pgSQL functions of the database, extensions excepted: identity, name, body.
SELECT p.oid AS function, p.proname AS name, coalesce(p.prosrc, '') AS body
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'migrator')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');

-- name: casts
-- Casts from or to text by a function of the owner, of types that statements of a migration cast.
SELECT c.castsource::regtype::text AS source, c.casttarget::regtype::text AS target, c.castfunc::regprocedure::text AS function
  FROM pg_cast c
  JOIN pg_type s ON s.oid = c.castsource
  JOIN pg_type t ON t.oid = c.casttarget
 WHERE c.oid >= 16384 AND c.castmethod = 'f' AND 'S' IN (s.typcategory, t.typcategory)
   AND NOT EXISTS (SELECT FROM pg_type o WHERE o.oid IN (s.oid, t.oid) AND o.typnamespace <> 'pg_catalog'::regnamespace
                      AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid
                                       WHERE a.atttypid = o.oid AND a.attnum > 0
                                         AND TABLE_NAME(r) = ANY (%(tables)s)))
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1, 2;

-- name: names_not_copied
-- Relations, and the owner's types and functions that a rehearsal does not have (see owner_copies.sql).
SELECT c.relname AS name FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S') AND n.nspname !~ '^pg_toast'
   AND n.nspname NOT IN ('information_schema', 'migrator') AND (n.nspname <> 'pg_catalog' OR c.relname ~ '^pg_')
 UNION
SELECT t.typname FROM pg_type t
  JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE t.typtype IN ('b', 'r', 'm') AND t.typelem = 0 AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'migrator')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
 UNION
SELECT p.proname FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_language l ON l.oid = p.prolang
 WHERE (p.prokind <> 'f' OR l.lanname NOT IN ('sql', 'plpgsql'))
   AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'migrator')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');
