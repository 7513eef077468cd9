-- What belongs to the server and not to the database: a dump of the database does not carry it, and neither does a rename.
-- The shop's role may read and write whatever is there. That belongs to the role, so that the site works on a restored copy
-- (dumps carry neither owners nor rights).
CREATE ROLE shop_owner NOLOGIN;
CREATE ROLE "Report Reader" NOLOGIN;
CREATE ROLE shop_app LOGIN PASSWORD '{verifier}' IN ROLE pg_read_all_data, pg_write_all_data;
ALTER DATABASE "{database}" SET timezone TO 'Europe/London';
ALTER DATABASE "{database}" SET statement_timeout TO '10min';
ALTER ROLE shop_app IN DATABASE "{database}" SET lock_timeout TO '15s';
REVOKE CONNECT, TEMPORARY ON DATABASE "{database}" FROM PUBLIC;
GRANT CONNECT ON DATABASE "{database}" TO shop_app, "Report Reader";
COMMENT ON DATABASE "{database}" IS 'The shop. Restore me.';
