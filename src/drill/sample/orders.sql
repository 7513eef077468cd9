-- Customers and orders.
INSERT INTO shop.customers (name, email, address, preferences, joined)
SELECT
    (ARRAY['Ada', 'Björn', 'Chloë', 'Dmitri', 'Édouard', 'Fatima', 'Grace', 'Håkon', 'Iñigo', '静香'])[1 + pg_temp.pick(n, 1, 10)] || ' '
        || (ARRAY['O''Brien', 'Müller', 'Smith', 'van der Berg', 'Łukasik', 'Nakamura', 'da Silva', 'Öztürk'])[1 + pg_temp.pick(n, 2, 8)],
    'Customer.' || n || '@example.org',
    CASE WHEN n % 7 > 0 THEN ROW(n || ' High Street', 'Town, "' || pg_temp.pick(n, 3, 90) || '"', 'AB' || pg_temp.pick(n, 4, 99))::shop.address END,
    CASE WHEN n % 3 = 0 THEN jsonb_build_object('newsletter', n % 2 = 0, 'theme', E'dark\\light', 'n', n) END,
    timestamptz '{until}' - interval '3 years' + pg_temp.pick(n, 5, 86400000) * interval '1 second'
FROM generate_series(1, {customers}::bigint) n;

INSERT INTO shop.orders (id, customer_id, status, placed_at, total, note)
SELECT
    n,
    1000 + pg_temp.pick(n, 11, {customers}),
    (CASE WHEN n > {orders} - 50 THEN 'placed' ELSE (ARRAY['paid', 'sent', 'sent', 'on its way', 'returned', 'cancelled'])[1 + pg_temp.pick(n, 12, 6)] END)
        ::shop.order_status,
    -- About a year of orders, the last one a minute before `until`.
    timestamptz '{until}' - ({orders} - n) * (interval '360 days' / {orders}) - interval '1 minute',
    (200 + pg_temp.pick(n, 13, 30000)) / 100.0,
    CASE
        WHEN n % 1000 = 1 THEN E'tab\there, backslash \\ there,\nand a line that is only\n\\.\nin between'
        WHEN n % 1000 = 2 THEN '\N'
        WHEN n % 1000 = 3 THEN ''
        WHEN n % 1000 = 4 THEN 'Ünïcödé 🚣 ' || repeat('long ', 400)
        WHEN n % 10 = 0 THEN 'leave it with the neighbour at number ' || pg_temp.pick(n, 14, 200)
    END
FROM generate_series(1, {orders}::bigint) n;
SELECT setval(pg_get_serial_sequence('shop.orders', 'id'), {orders});
