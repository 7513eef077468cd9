-- What was ordered, and what was paid for it.
INSERT INTO shop.order_lines (order_id, line, product_id, quantity, unit_price)
SELECT n, line, 1 + pg_temp.pick(n * 3 + line, 21, {products}), 1 + pg_temp.pick(n + line, 22, 5), (99 + pg_temp.pick(n, 23, 5000)) / 100.0
FROM generate_series(1, {orders}::bigint) n, generate_series(1, 1 + (n % 2)) line;

INSERT INTO shop.payments (order_id, method, amount, paid_at)
SELECT
    n,
    (ARRAY['card', 'card', 'transfer', 'voucher'])[1 + pg_temp.pick(n, 31, 4)],
    (200 + pg_temp.pick(n, 13, 30000)) / 100.0,
    timestamptz '{until}' - ({orders} - n) * (interval '360 days' / {orders}) - interval '30 seconds'
FROM generate_series(1, {orders}::bigint) n
WHERE n % 5 > 0;
