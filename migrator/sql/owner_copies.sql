-- Statements that create what constraints and indexes of the target's owner may use, for postgres/owner_copies.py.

-- name: extensions
SELECT format('CREATE SCHEMA IF NOT EXISTS %I; CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I',
         n.nspname, e.extname, n.nspname)
  FROM pg_extension e
  JOIN pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname <> 'plpgsql';

-- name: schemas
SELECT format('CREATE SCHEMA IF NOT EXISTS %I', n.nspname)
  FROM pg_namespace n
 WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'migrator')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e');

-- name: types
SELECT CASE t.typtype
         WHEN 'e' THEN format('CREATE TYPE %I.%I AS ENUM (%s)', n.nspname, t.typname,
           (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
         ELSE format('CREATE DOMAIN %I.%I AS %s', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod))
           || coalesce(' DEFAULT ' || t.typdefault, '') || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
           || coalesce((SELECT string_agg(format(' CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), '')
                          FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'), '')
       END
  FROM pg_type t
  JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE t.typtype IN ('e', 'd') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'migrator')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
 ORDER BY t.typtype = 'd', t.oid;

-- name: functions
SELECT regexp_replace(pg_get_functiondef(p.oid), '^CREATE FUNCTION', 'CREATE OR REPLACE FUNCTION')
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_language l ON l.oid = p.prolang
 WHERE p.prokind = 'f' AND l.lanname IN ('sql', 'plpgsql')
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'migrator')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
 ORDER BY p.oid;

-- name: parents
-- A table with the columns of its keys. Parameter %(parent)s: its name.
SELECT c.oid::regclass::text,
       string_agg(format('%%I %%s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum),
       string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
       ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u'))
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.oid = %(parent)s::regclass
   AND a.attnum IN (SELECT unnest(k.conkey) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u'))
 GROUP BY c.oid;
