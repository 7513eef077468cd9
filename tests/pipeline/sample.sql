CREATE SCHEMA "Odd ""Schema";
CREATE TABLE public.rooms (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, floor integer CHECK (floor < 100));
INSERT INTO public.rooms (name, floor) SELECT 'room ' || n || E' \\ tab\t newline\n\\.\nCOPY public.fake (a) FROM stdin;\n', n % 7 FROM generate_series(1, 5000) n;
CREATE TABLE public.bookings (id serial PRIMARY KEY, room integer NOT NULL, note text);
INSERT INTO public.bookings (room, note) SELECT 1 + n % 5000, CASE WHEN n % 3 = 0 THEN NULL ELSE md5(n::text) END FROM generate_series(1, 20000) n;
ALTER TABLE public.bookings ADD CONSTRAINT bookings_room_fkey FOREIGN KEY (room) REFERENCES public.rooms (id);
ALTER TABLE public.bookings ADD CONSTRAINT not_silly CHECK (note <> 'ADD CONSTRAINT') NOT VALID;
CREATE INDEX bookings_room ON public.bookings (room);
CREATE UNIQUE INDEX rooms_lower ON public.rooms (lower(name));
CREATE TABLE public.empty (a integer, b text);
CREATE TABLE public.nocols ();
INSERT INTO public.nocols DEFAULT VALUES;
INSERT INTO public.nocols DEFAULT VALUES;
CREATE TABLE "Odd ""Schema"."select; -- (x) FROM stdin;" ("a.b" integer, "c
d" text DEFAULT 'x;
COPY public.fake2 (a) FROM stdin;
');
INSERT INTO "Odd ""Schema"."select; -- (x) FROM stdin;" VALUES (1, 'one'), (2, E'\\.'), (3, '');
COMMENT ON TABLE public.rooms IS 'it''s a comment; with a line
COPY public.fake3 (a) FROM stdin;
CREATE INDEX nothing ON nowhere (a);
-- PostgreSQL database dump complete
\.
and a backslash \';
CREATE TABLE public.parted (a integer, b text) PARTITION BY RANGE (a);
CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (0) TO (10);
INSERT INTO public.parted SELECT n, 'p' FROM generate_series(0, 9) n;
CREATE VIEW public.upstairs AS SELECT id, name FROM public.rooms WHERE floor > 3 AND name <> E'a\\''b;';
CREATE MATERIALIZED VIEW public.counts AS SELECT floor, count(*) AS rooms FROM public.rooms GROUP BY floor;
CREATE SEQUENCE public.loose;
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    -- CREATE INDEX i ON t (a);
    EXECUTE $q$COPY public.fake4 (a) FROM stdin;
CREATE TABLE fake5 (a int);$q$;
    RETURN NEW;
END
$body$;
CREATE FUNCTION public.modern(a integer) RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT a + 1; SELECT a + 2; END;
CREATE TRIGGER touched BEFORE UPDATE ON public.rooms FOR EACH ROW EXECUTE FUNCTION public.touch();
SELECT lo_from_bytea(4711, '\x0102030405'), lo_from_bytea(4712, decode(repeat('ab', 100000), 'hex'));
