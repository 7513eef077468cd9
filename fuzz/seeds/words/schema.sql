CREATE FUNCTION shop.f() RETURNS void LANGUAGE sql AS $_$ SELECT $1; /* ; */ $_$;
/* a /* comment */ in one; */
ALTER TABLE ONLY shop."Odd ""one""" ADD CONSTRAINT "k;" FOREIGN KEY (a, "b)") REFERENCES shop.orders(id) NOT VALID;
COPY shop.orders (id, "x y") FROM stdin;
1	a\tb
\.
COMMENT ON CONSTRAINT "k;" ON shop."Odd ""one""" IS E'\';';
ALTER TABLE shop.orders ATTACH PARTITION shop.orders_a FOR VALUES IN (1);
