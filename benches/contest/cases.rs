//! What is compared with what. A new case is a line here, and where it needs one, a job in `jobs.toml`.

/// Ours against theirs.
pub struct Case {
    /// For people, and for `LIFEBOAT_BENCH_ONLY`.
    pub name: &'static str,
    /// The arguments of ours.
    pub ours: &'static [&'static str],
    /// The stock chain, for bash with `pipefail`. `$OUT` is a file beside our store, `$KEY` the recipient, `$DUMP` `pg_dump` with our options;
    /// `$OBJECT` is the dump of our job `shelf-gzip`, `$ARCHIVE` what `pg_dump -Fc -Z0` left, in clear, `$COPY` a database that is not there yet.
    pub stock: &'static str,
    /// How many times faster ours should be.
    pub at_least: f64,
    /// How many times as many bytes it may leave.
    pub bytes_at_most: Option<f64>,
    /// It reads the dumps on the shelf, and makes none.
    pub reads: bool,
}

/// The limit: what `pg_dump` alone takes, its output thrown away.
const LIMIT: &str = "$DUMP > /dev/null";

/// Reading a dump to its end with stock tools.
const READ: &str = "gpg -d $OBJECT | gunzip > /dev/null";

/// Restoring what is encrypted with stock tools.
const PSQL: &str = "createdb $COPY && gpg -d $OBJECT | gunzip | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d $COPY";

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "gzip",
        ours: &["backup", "gzip"],
        stock: "$DUMP | gzip | gpg -e -r $KEY > $OUT",
        at_least: 4.0,
        bytes_at_most: Some(1.05),
        reads: false,
    },
    Case {
        name: "zstd",
        ours: &["backup", "zstd"],
        stock: "$DUMP -Fc -Z0 | zstd -q -3 -T0 | gpg -e -r $KEY --compress-algo none > $OUT",
        at_least: 1.0,
        bytes_at_most: Some(1.05),
        reads: false,
    },
    Case { name: "zstd-limit", ours: &["backup", "zstd"], stock: LIMIT, at_least: 1.0 / 1.5, bytes_at_most: None, reads: false },
    Case { name: "gzip-limit", ours: &["backup", "gzip"], stock: LIMIT, at_least: 0.0, bytes_at_most: None, reads: false },
    Case { name: "s3-limit", ours: &["backup", "s3"], stock: LIMIT, at_least: 1.0 / 1.5, bytes_at_most: None, reads: false },
    Case {
        name: "restore",
        ours: &["restore", "latest", "--job", "shelf-zstd", "--into", "copy"],
        stock: "createdb $COPY && pg_restore -j $(nproc) --exit-on-error --no-owner -d $COPY $ARCHIVE",
        at_least: 1.0,
        bytes_at_most: None,
        reads: true,
    },
    Case {
        name: "restore-psql",
        ours: &["restore", "latest", "--job", "shelf-zstd", "--into", "copy"],
        stock: PSQL,
        at_least: 1.0,
        bytes_at_most: None,
        reads: true,
    },
    Case {
        name: "restore-plain",
        ours: &["restore", "latest", "--job", "shelf-gzip", "--into", "copy"],
        stock: PSQL,
        at_least: 0.0,
        bytes_at_most: None,
        reads: true,
    },
    Case {
        name: "verify-l1",
        ours: &["verify", "latest", "--job", "shelf-gzip", "--level", "L1"],
        stock: READ,
        at_least: 0.9,
        bytes_at_most: None,
        reads: true,
    },
    Case {
        name: "verify-l3",
        ours: &["verify", "latest", "--job", "shelf-gzip", "--level", "L3"],
        stock: READ,
        at_least: 0.9,
        bytes_at_most: None,
        reads: true,
    },
    Case {
        name: "verify-l4",
        ours: &["verify", "latest", "--job", "shelf-gzip", "--level", "L4"],
        stock: READ,
        at_least: 0.9,
        bytes_at_most: None,
        reads: true,
    },
    Case {
        name: "verify-zstd",
        ours: &["verify", "latest", "--job", "shelf-zstd", "--level", "L4"],
        stock: READ,
        at_least: 0.9,
        bytes_at_most: None,
        reads: true,
    },
];
