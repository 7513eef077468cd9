-- A quarter of {rows} rows that look like a business: words, documents, numbers, moments, names. {part} is 0 to 3.
-- A gzip of it is about a fifth of its size, as of most dumps people have; sentences never repeat as a whole.
SELECT setseed(0.1 + {part} / 10.0);
INSERT INTO contest.events (id, at, kind, customer, amount, share, path, payload, note)
SELECT
    n * 4 + {part},
    timestamptz '2025-01-01' + n * interval '1.7 seconds' + random() * interval '1 second',
    kinds[1 + floor(random() ^ 2 * 8)::int],
    floor(random() * 400000)::int,
    round((random() ^ 3 * 5000)::numeric, 2),
    random(),
    '/' || w[1 + floor(random() * 40)::int] || '/' || floor(random() * 90000)::int,
    jsonb_build_object(
        'session', to_hex((random() * 4294967295)::bigint), 'agent', agents[1 + floor(random() ^ 2 * 5)::int], 'items', floor(random() * 9)::int,
        'address', jsonb_build_object('street', initcap(w[1 + floor(random() * 160)::int]) || ' Street ' || floor(random() * 200)::int,
                                      'town', initcap(w[1 + floor(random() ^ 2 * 160)::int]), 'code', floor(random() * 99999)::int),
        'tags', jsonb_build_array(w[1 + floor(random() * 160)::int], w[1 + floor(random() ^ 2 * 160)::int])),
    concat_ws(' ', initcap(w[1 + floor(random() ^ 2 * 160)::int]), w[1 + floor(random() ^ 2 * 160)::int], w[1 + floor(random() ^ 2 * 160)::int],
        w[1 + floor(random() ^ 2 * 160)::int], w[1 + floor(random() ^ 2 * 160)::int], w[1 + floor(random() ^ 2 * 160)::int],
        w[1 + floor(random() ^ 2 * 160)::int], w[1 + floor(random() ^ 2 * 160)::int], w[1 + floor(random() ^ 2 * 160)::int],
        w[1 + floor(random() ^ 2 * 160)::int], w[1 + floor(random() * 160)::int], w[1 + floor(random() * 160)::int] || '.')
FROM generate_series(1, {rows} / 4) n,
    (SELECT string_to_array('the of and to in a is that for it as was with be by on not he his but at are this have from which or had an they you '
        'were their one all we can her has there been if more when will would who so no out up into them then its only some could time these two '
        'may first any now such like our over man me even most made after also did many before must through back years where much your way well '
        'down should because each just those people how too little state good very make world still own see men work long get here between both '
        'life being under never day same another know while last might us great old year off come since against go came right used take three '
        'himself few house use during without again place around however home small found thought went say part once general high upon school '
        'every does got united left number course war until always away something fact water', ' ') AS w,
        ARRAY['viewed', 'ordered', 'paid', 'sent', 'returned', 'refunded', 'asked', 'closed'] AS kinds,
        ARRAY['Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0', 'Mozilla/5.0 (iPhone; CPU OS 18_1 like Mac OS X) Safari/605.1',
              'Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0', 'curl/8.5.0', 'shop-app/4.11 (android)'] AS agents) words;
