-- As roles.sql, but the loader may not make schemas: you make them here, and they stay yours.
--
--   psql 'postgresql://master@aurora/app' -v loader=loader -v reader=migration_reader \
--        -v schema=app -f least.sql
--
-- `schema` is the setting `target_schema`. A loader that had CREATE on the database loses it.

\set ON_ERROR_STOP on
\if :{?loader}
\else
  \set loader loader
\endif
\if :{?reader}
\else
  \set reader migration_reader
\endif
\if :{?schema}
\else
  \set schema public
\endif

BEGIN;

SELECT format('CREATE ROLE %I LOGIN', wanted)
FROM unnest(ARRAY[:'loader', :'reader']) AS wanted
WHERE wanted NOT IN (SELECT rolname FROM pg_roles) \gexec

-- So that you, no superuser, may speak for it below, and drop its tables one day.
GRANT :"loader" TO CURRENT_USER;

REVOKE CREATE ON DATABASE :"DBNAME" FROM :"loader";
GRANT CONNECT ON DATABASE :"DBNAME" TO :"loader";
GRANT TEMPORARY ON DATABASE :"DBNAME" TO :"loader";  -- changes are staged in temporary tables
GRANT CONNECT ON DATABASE :"DBNAME" TO :"reader";

SELECT format('CREATE SCHEMA %I', wanted)
FROM unnest(ARRAY['migration', :'schema']) AS wanted
WHERE wanted NOT IN (SELECT nspname FROM pg_namespace) \gexec

GRANT USAGE ON SCHEMA migration TO :"loader";  -- the ledger
GRANT CREATE ON SCHEMA migration TO :"loader";
GRANT USAGE ON SCHEMA :"schema" TO :"loader";  -- the tables
GRANT CREATE ON SCHEMA :"schema" TO :"loader";
GRANT USAGE ON SCHEMA migration TO :"reader";
GRANT USAGE ON SCHEMA :"schema" TO :"reader";

-- What the loader will make in them.
ALTER DEFAULT PRIVILEGES FOR ROLE :"loader" IN SCHEMA migration GRANT SELECT ON TABLES TO :"reader";
ALTER DEFAULT PRIVILEGES FOR ROLE :"loader" IN SCHEMA :"schema" GRANT SELECT ON TABLES TO :"reader";

-- What it made before this script ran.
SELECT format('GRANT SELECT ON %s TO %I', oid::regclass, :'reader')
FROM pg_class
WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = :'loader')
  AND relkind IN ('r', 'p', 'v') AND relpersistence = 'p' \gexec

COMMIT;
