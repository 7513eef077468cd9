//! What is compared with what. A new case is a line here, and where it needs one, a job in `jobs.toml`.

/// Ours against theirs.
pub struct Case {
    /// For people, and for `LIFEBOAT_BENCH_ONLY`.
    pub name: &'static str,
    /// The arguments of ours.
    pub ours: &'static [&'static str],
    /// The stock chain, for bash with `pipefail`. `$OUT` is a file beside our store, `$KEY` the recipient, `$DUMP` `pg_dump` with our options.
    pub stock: &'static str,
    /// How many times faster ours should be.
    pub at_least: f64,
    /// How many times as many bytes it may leave.
    pub bytes_at_most: Option<f64>,
}

/// The limit: what `pg_dump` alone takes, its output thrown away.
const LIMIT: &str = "$DUMP > /dev/null";

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "gzip",
        ours: &["backup", "gzip"],
        stock: "$DUMP | gzip | gpg -e -r $KEY > $OUT",
        at_least: 4.0,
        bytes_at_most: Some(1.05),
    },
    Case {
        name: "zstd",
        ours: &["backup", "zstd"],
        stock: "$DUMP -Fc -Z0 | zstd -q -3 -T0 | gpg -e -r $KEY --compress-algo none > $OUT",
        at_least: 1.0,
        bytes_at_most: Some(1.05),
    },
    Case { name: "zstd-limit", ours: &["backup", "zstd"], stock: LIMIT, at_least: 1.0 / 1.5, bytes_at_most: None },
    Case { name: "gzip-limit", ours: &["backup", "gzip"], stock: LIMIT, at_least: 0.0, bytes_at_most: None },
    Case { name: "s3-limit", ours: &["backup", "s3"], stock: LIMIT, at_least: 1.0 / 1.5, bytes_at_most: None },
];
