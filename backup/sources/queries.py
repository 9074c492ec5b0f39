"""What is asked of PostgreSQL's own catalogues for a manifest.

Every name is spelled for `search_path = pg_catalog`. `%(schema)s` is null for a whole database.
"""

# ruff: noqa: S608 - put together from the constants of this file only

# Relations of the tenant: no system schema, and nothing that an extension brings along.
OWN = """
n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
AND (%(schema)s::text IS NULL OR n.nspname = %(schema)s)
AND NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = '{catalogue}'::regclass AND d.objid = {object}.oid AND d.deptype = 'e')
"""
OWN_RELATION = OWN.format(catalogue="pg_class", object="c")
# A type by name, its schema left out where it is the table's own.
TYPE = """CASE WHEN ty.typnamespace = c.relnamespace THEN '' ELSE tn.nspname || '.' END
    || ty.typname || ':' || a.atttypmod"""
TABLES = f"""
SELECT n.nspname, c.relname,
  (SELECT array_agg(a.attname ORDER BY a.attname COLLATE "C") FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT string_agg(concat_ws(' ', a.attname, {TYPE}, a.attnotnull, a.attidentity,
      a.attgenerated, a.atthasdef), E'\\n' ORDER BY a.attname COLLATE "C")
    FROM pg_attribute a JOIN pg_type ty ON ty.oid = a.atttypid
    JOIN pg_namespace tn ON tn.oid = ty.typnamespace
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT string_agg(concat_ws(' ', k.conname, k.contype, k.condeferrable, k.condeferred,
      k.confdeltype, k.confupdtype, f.relname,
      (SELECT string_agg(a.attname, ',' ORDER BY p.place) FROM unnest(k.conkey)
        WITH ORDINALITY p(number, place) JOIN pg_attribute a
        ON a.attrelid = k.conrelid AND a.attnum = p.number),
      (SELECT string_agg(a.attname, ',' ORDER BY p.place) FROM unnest(k.confkey)
        WITH ORDINALITY p(number, place) JOIN pg_attribute a
        ON a.attrelid = k.confrelid AND a.attnum = p.number)),
      E'\\n' ORDER BY k.conname COLLATE "C")
    FROM pg_constraint k LEFT JOIN pg_class f ON f.oid = k.confrelid
    WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f', 'c', 'x')),
  (SELECT string_agg(concat_ws(' ', x.relname, i.indisunique), E'\\n'
      ORDER BY x.relname COLLATE "C")
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid),
  (SELECT string_agg(t.tgname, E'\\n' ORDER BY t.tgname COLLATE "C")
    FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
  (SELECT string_agg(concat_ws(' ', p.polname, p.polcmd), E'\\n' ORDER BY p.polname COLLATE "C")
    FROM pg_policy p WHERE p.polrelid = c.oid),
  concat_ws(' ', c.relpersistence, c.relrowsecurity, c.relforcerowsecurity)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {OWN_RELATION}
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""
SEQUENCES = f"""
SELECT n.nspname, c.relname, s.seqincrement
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_sequence s ON s.seqrelid = c.oid
WHERE c.relpersistence <> 't' AND {OWN_RELATION}
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""
OBJECTS = f"""
SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
    WHEN 'f' THEN 'foreign table' ELSE 'partitioned table' END || ' ' || n.nspname || '.'
    || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm', 'f', 'p') AND c.relpersistence <> 't' AND {OWN_RELATION}
UNION ALL
SELECT 'type ' || n.nspname || '.' || t.typname
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r') AND {OWN.format(catalogue="pg_type", object="t")}
UNION ALL
SELECT 'function ' || n.nspname || '.' || p.proname || '/' || p.pronargs
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
    AND d.objid = p.oid AND d.deptype = 'i')
  AND {OWN.format(catalogue="pg_proc", object="p")}
ORDER BY 1
"""
EXTENSIONS = """
SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql' ORDER BY 1
"""
ROLES = f"""
SELECT DISTINCT r.rolname FROM pg_policy p CROSS JOIN unnest(p.polroles) named(role)
JOIN pg_roles r ON r.oid = named.role JOIN pg_class c ON c.oid = p.polrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OWN_RELATION} ORDER BY 1
"""
DATABASE = """
SELECT pg_database_size(d.oid), pg_encoding_to_char(d.encoding), d.datlocprovider::text,
  d.datcollate, d.datctype, to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale',
  (SELECT count(*) FROM pg_largeobject_metadata)
FROM pg_database d WHERE d.datname = current_database()
"""
