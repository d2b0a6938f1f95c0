-- The objects that `prepare` may defer: foreign keys and non-unique indexes of a table, each with the
-- statements that recreate it exactly. Objects with a property that their definition does not contain (a disabled
-- trigger, a tablespace, statistics, CLUSTER …) are not included: they stay, which slows the load. `fits_all`: whether
-- the object refuses no row that the load can write.

-- name: foreign_keys
SELECT 'foreign_key' AS kind, TABLE_NAME(c) AS "table", k.conname AS name,
       k.confrelid = k.conrelid AS own, k.confrelid = k.conrelid AS fits_all,
       format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', c.oid::regclass, k.conname, pg_get_constraintdef(k.oid))
         AS definition,
       format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', k.conname, c.oid::regclass, d.description) AS comment,
       d.description IS NOT NULL AS commented,
       k.convalidated AS validated,
       format('ALTER TABLE %%s DROP CONSTRAINT %%I', c.oid::regclass, k.conname) AS drop
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  LEFT JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid
 WHERE TABLE_NAME(c) = %(table)s
   AND k.contype = 'f' AND k.conparentid = 0
   AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
 ORDER BY c.relname, k.conname;

-- name: indexes
SELECT CASE WHEN m.amname IN ('ivfflat', 'hnsw') THEN 'vector_index' ELSE 'index' END AS kind, TABLE_NAME(c) AS "table", n.relname AS name,
       false AS own,
       i.indexprs IS NULL AND i.indpred IS NULL AND NOT EXISTS (
         SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[]) AND a.attlen < 0
       ) AS fits_all,
       pg_get_indexdef(n.oid) AS definition,
       format('COMMENT ON INDEX %%s IS %%L', n.oid::regclass, d.description) AS comment,
       d.description IS NOT NULL AS commented,
       false AS validated,
       format('DROP INDEX %%s', n.oid::regclass) AS drop
  FROM pg_index i
  JOIN pg_class n ON n.oid = i.indexrelid
  JOIN pg_am m ON m.oid = n.relam
  JOIN pg_class c ON c.oid = i.indrelid
  LEFT JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = n.oid AND d.objsubid = 0
 WHERE TABLE_NAME(c) = %(table)s
   AND NOT i.indisunique AND NOT i.indisexclusion AND i.indisvalid AND i.indisready
   AND NOT i.indisclustered AND n.reltablespace = 0 AND NOT n.relispartition
   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = n.oid AND coalesce(a.attstattarget, -1) >= 0)
   AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.objid = n.oid AND x.deptype = 'x')
 ORDER BY c.relname, n.relname;
