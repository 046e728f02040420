-- The two roles of a migration, and all that they need in the database that is to hold the tables.
-- Run it there with psql, as the owner of the database or a superuser; again whenever you like.
--
--   psql 'postgresql://master@aurora/app' -v loader=loader -v reader=migration_reader -f roles.sql
--
-- loader  makes schema `migration` (the ledger), the target schema where it is missing, and all
--         tables; it owns what it makes, and nothing else
-- reader  reads what the loader made: enough for `status`, `verify` and dashboards
--
-- Where the loader must not have CREATE on the database: least.sql instead.
-- Neither role has a password yet: type `\password loader` in psql, so that no script holds it.

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

GRANT CONNECT ON DATABASE :"DBNAME" TO :"loader";
GRANT TEMPORARY ON DATABASE :"DBNAME" TO :"loader";  -- changes are staged in temporary tables
GRANT CREATE ON DATABASE :"DBNAME" TO :"loader";     -- schema `migration`, a rehearsal's schema

-- A target schema that is there already; one that isn't is made by the loader.
SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', nspname, :'loader')
FROM pg_namespace WHERE nspname = :'schema' \gexec
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, :'reader')
FROM pg_namespace WHERE nspname IN (:'schema', 'migration') \gexec

GRANT CONNECT ON DATABASE :"DBNAME" TO :"reader";

-- What the loader will make, in whatever schema.
ALTER DEFAULT PRIVILEGES FOR ROLE :"loader" GRANT USAGE ON SCHEMAS TO :"reader";
ALTER DEFAULT PRIVILEGES FOR ROLE :"loader" GRANT SELECT ON TABLES TO :"reader";

-- What it made before this script ran.
SELECT format('GRANT SELECT ON %s TO %I', oid::regclass, :'reader')
FROM pg_class
WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = :'loader')
  AND relkind IN ('r', 'p', 'v') AND relpersistence = 'p' \gexec

COMMIT;
