-- The small tables.
INSERT INTO catalogue.products (id, sku, name, price, tags, attributes, image, listed, withdrawn)
SELECT
    n,
    'SKU-' || lpad(n::text, 6, '0'),
    (ARRAY['Rope', 'Oar', 'Lantern', 'Anchor', 'Compass', 'Life jacket', 'Flare', 'Bilge pump'])[1 + n % 8] || ' '
        || (ARRAY['of brass', 'of oak', 'in red', 'XL', 'for two', '½"', '№ 7', '"Endurance"'])[1 + pg_temp.pick(n, 41, 8)] || ' ' || n,
    (99 + pg_temp.pick(n, 42, 20000)) / 100.0,
    CASE n % 4 WHEN 0 THEN '{}'::text[] WHEN 1 THEN ARRAY['sale', 'a,b', 'with "quotes"'] WHEN 2 THEN ARRAY['NULL', NULL, ''] ELSE ARRAY['new'] END,
    jsonb_build_object('weight', pg_temp.pick(n, 43, 5000) / 10.0, 'nested', jsonb_build_object('deep', ARRAY[n, NULL]), 'text', E'a\\b\n"c"'),
    CASE WHEN n % 3 = 0 THEN decode(repeat(lpad(to_hex(n % 256), 2, '0') || '00ff5c0a', 20), 'hex') END,
    date '2020-01-01' + pg_temp.pick(n, 44, 2000)::int,
    n % 17 = 0
FROM generate_series(1, {products}::bigint) n;

INSERT INTO catalogue."Größe & Farbe" VALUES
    (1, 'klein; DROP TABLE students; --', 'says "hello"', 'C:\dir', '{"漢","字"}'),
    (2, 'mittel', NULL, E'\t', '{}'),
    (3, 'groß', '', '\.', NULL);

-- A large object has an identity outside every table.
INSERT INTO catalogue.manuals
SELECT 1 + n, 'en', lo_from_bytea(0, decode(repeat(lpad(to_hex(n), 2, '0') || '00255044460d0a', 3000), 'hex')) FROM generate_series(0, 2) n;

INSERT INTO shop."no columns" SELECT FROM generate_series(1, 3);

INSERT INTO "Audit Log".visits
SELECT date '2023-12-01' + n::int, '/' || (ARRAY['', 'about us', 'products', '?q=%20'])[1 + n % 4], pg_temp.pick(n, 51, 900) FROM generate_series(0, 59::bigint) n;
INSERT INTO "Audit Log"."what ""they"" did" (at, who, what, before)
SELECT timestamptz '{until}' - n * interval '1 hour', 'postgres', E'line one\nline two\r\n' || n, NULL FROM generate_series(1, 40) n;
