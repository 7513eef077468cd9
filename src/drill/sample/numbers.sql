-- A number from 0 to below-1 that depends on n and salt alone: the same sample every time, on every server, in any order.
CREATE FUNCTION pg_temp.pick(n bigint, salt bigint, below bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT (((n * 2654435761 + (salt + {seed}) * 40503) % 2147483647) * 48271 % 2147483647) % below $$;
