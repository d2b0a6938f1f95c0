-- Objects of a schema that its definition does not declare, for verification/catalog_check.py. All queries return kind,
-- name, definition. Parameters: %(schema)s, the schema; %(tables)s, the names of the declared tables.

-- name: privileges
SELECT 'privilege' AS kind, format('%%s %%s to %%s', c.relname, a.privilege_type,
         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END) AS name,
       CASE WHEN a.is_grantable THEN 'granted, with grant option' ELSE 'granted' END AS definition
  FROM pg_class c
 CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S');

-- name: column_privileges
SELECT 'privilege' AS kind, format('%%s.%%s %%s to %%s', c.relname, t.attname, a.privilege_type,
         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END) AS name,
       CASE WHEN a.is_grantable THEN 'granted, with grant option' ELSE 'granted' END AS definition
  FROM pg_class c
  JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped AND t.attacl IS NOT NULL
 CROSS JOIN LATERAL aclexplode(t.attacl) a
 WHERE c.relnamespace = %(schema)s::regnamespace;

-- name: schema_privileges
SELECT 'privilege' AS kind, format('schema %%s: %%s to %%s', n.nspname, a.privilege_type,
         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END) AS name,
       CASE WHEN a.is_grantable THEN 'granted, with grant option' ELSE 'granted' END AS definition
  FROM pg_namespace n
 CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
 WHERE n.oid = %(schema)s::regnamespace;

-- name: owners
SELECT 'owner of' AS kind, c.relname::text AS name, pg_get_userbyid(c.relowner)::text AS definition
  FROM pg_class c
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S');

-- name: triggers
SELECT CASE WHEN t.tgisinternal THEN 'internal trigger' ELSE 'trigger' END AS kind,
       CASE WHEN t.tgisinternal THEN format('%%s of %%s on %%s', p.proname, k.conname, c.relname)
            ELSE format('%%s of %%s', t.tgname, c.relname) END AS name,
       CASE WHEN t.tgisinternal THEN '' ELSE pg_get_triggerdef(t.oid) END
         || CASE t.tgenabled WHEN 'O' THEN ' enabled' WHEN 'D' THEN ' disabled' ELSE ' replica' END AS definition
  FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid
  JOIN pg_proc p ON p.oid = t.tgfoid
  LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint
 WHERE c.relnamespace = %(schema)s::regnamespace AND (NOT t.tgisinternal OR t.tgenabled <> 'O');

-- name: rules
SELECT 'rule' AS kind, format('%%s of %%s', r.rulename, c.relname) AS name, pg_get_ruledef(r.oid) AS definition
  FROM pg_rewrite r
  JOIN pg_class c ON c.oid = r.ev_class
 WHERE c.relnamespace = %(schema)s::regnamespace;

-- name: functions
SELECT 'function' AS kind, p.oid::regprocedure::text AS name, md5(pg_get_functiondef(p.oid)) AS definition
  FROM pg_proc p
 WHERE p.pronamespace = %(schema)s::regnamespace AND p.prokind IN ('f', 'p')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');

-- name: sequences
SELECT 'sequence' AS kind, c.relname::text AS name,
       format('%%s from %%s by %%s, %%s to %%s%%s', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin,
         s.seqmax, CASE WHEN s.seqcycle THEN ', cycle' ELSE '' END) AS definition
  FROM pg_sequence s
  JOIN pg_class c ON c.oid = s.seqrelid
 WHERE c.relnamespace = %(schema)s::regnamespace;

-- name: relations
SELECT CASE WHEN c.relname = ANY (%(tables)s) THEN 'table' ELSE 'relation' END AS kind, c.relname::text AS name,
       concat_ws(' ', CASE c.relpersistence WHEN 'u' THEN 'unlogged' WHEN 't' THEN 'temporary' END,
         CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
           WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END) AS definition
  FROM pg_class c
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f');

-- name: columns
SELECT 'column' AS kind, format('%%s.%%s', c.relname, a.attname) AS name,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull) AS definition
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s) AND c.relkind = 'r';

-- name: constraints
SELECT 'constraint' AS kind, format('%%s.%%s', c.relname, k.conname) AS name, pg_get_constraintdef(k.oid, true) AS definition
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s) AND k.contype <> 'n';

-- name: indexes
SELECT 'index' AS kind, format('%%s.%%s', c.relname, n.relname) AS name,
       concat_ws(' ', pg_get_indexdef(i.indexrelid, 0, true), i.indisvalid) AS definition
  FROM pg_index i
  JOIN pg_class n ON n.oid = i.indexrelid
  JOIN pg_class c ON c.oid = i.indrelid
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s);

-- name: policies
SELECT 'policy' AS kind, format('%%s.%%s', c.relname, p.polname) AS name,
       concat_ws(' ', p.polcmd, p.polroles::text, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
         pg_get_expr(p.polwithcheck, p.polrelid)) AS definition
  FROM pg_policy p
  JOIN pg_class c ON c.oid = p.polrelid
 WHERE c.relnamespace = %(schema)s::regnamespace;

-- name: row_security
SELECT 'row_security' AS kind, c.relname::text AS name, concat_ws(' ', c.relrowsecurity, c.relforcerowsecurity) AS definition
  FROM pg_class c
 WHERE c.relnamespace = %(schema)s::regnamespace AND c.relname = ANY (%(tables)s);

-- name: types
SELECT CASE t.typtype WHEN 'e' THEN 'enum' ELSE 'type' END AS kind, t.typname::text AS name,
       coalesce((SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
         CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' WHEN 'm' THEN 'multirange' WHEN 'c' THEN 'composite'
           ELSE 'base type' END) AS definition
  FROM pg_type t
 WHERE t.typnamespace = %(schema)s::regnamespace AND t.typrelid = 0 AND t.typelem = 0
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e');
