--
-- PostgreSQL database cluster dump
--

\restrict aB3

SET default_transaction_read_only = off;

--
-- Roles
--

CREATE ROLE "Ada ""L""";
ALTER ROLE "Ada ""L""" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy' VALID UNTIL '2027-01-01 00:00:00+00';
COMMENT ON ROLE "Ada ""L""" IS 'it''s; a -- role';
CREATE ROLE readers;
ALTER ROLE readers WITH NOLOGIN CONNECTION LIMIT 5;
ALTER ROLE readers SET search_path TO 'shop', E'a\'b';

GRANT readers TO "Ada ""L""" WITH ADMIN OPTION, INHERIT TRUE GRANTED BY postgres;
GRANT SET ON PARAMETER work_mem TO readers;
CREATE TABLESPACE fast OWNER postgres LOCATION '/srv/fast';

\unrestrict aB3

--
-- PostgreSQL database cluster dump complete
--
