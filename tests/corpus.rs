//! A corpus of broken dumps: each made from a good one by real means, each with the lowest level of proof that sees it.
//!
//! `tests/corpus.md` is the table of what caught which. It is never written by hand: `LIFEBOAT_CORPUS=write` writes what was seen, and without
//! it the test compares. Nothing in it may pass every level but the dumps that are good.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat::drill::keys::Keys;
use lifeboat::pipeline::gzip::Gzip;
use lifeboat::pipeline::inspect::Inspector;
use lifeboat::pipeline::manifest::{Compression, Digest, Format, Level, Manifest};
use lifeboat::pipeline::openpgp::{Encrypt, PublicKeys, SecretKey};
use lifeboat::pipeline::verify;
use lifeboat::pipeline::zstd::Zstd;
use lifeboat::port::{Context, Filter};

use crate::jobs::rig::{Rig, Wanted, keys};
use crate::pipeline::{drain, stream};

/// One job for each way a dump can be laid out and compressed; all assert the same.
fn jobs() -> String {
    let job = |kind: Kind| {
        format!(
            "[job.{}]\nsystem = \"main\"\nstore = \"shelf\"\nkeys = [\"backup\"]\nformat = \"{}\"\ncompression = \"{}\"\nname = \"{}-{{yyyyMMddHHmmss}}{}\"\n\
             [[job.{}.assert]]\ntitle = \"what was ordered\"\nquery = \"SELECT sum(cents) FROM orders\"\nequals = {CENTS}\n\n",
            kind.word(),
            kind.format_word(),
            kind.compression().word(),
            kind.word(),
            lifeboat::pipeline::manifest::ending(kind.format(), kind.compression()),
            kind.word(),
        )
    };
    let jobs: String = [PlainGzip, PlainZstd, CustomGzip, CustomZstd].into_iter().map(job).collect();
    format!("{jobs}[proof]\npath = \"proof\"\n")
}

const SCHEMA: [&str; 8] = [
    "CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL)",
    "CREATE TABLE orders (id integer PRIMARY KEY, customer integer NOT NULL REFERENCES customers (id), cents integer CONSTRAINT positive CHECK (cents >= 0), \
     at date NOT NULL, items integer NOT NULL)",
    "CREATE INDEX orders_at ON orders (at)",
    "CREATE VIEW large AS SELECT id FROM orders WHERE items > 20",
    "CREATE SEQUENCE loose",
    "CREATE TABLE ballast AS SELECT n, encode(sha256(n::text::bytea), 'hex') AS word FROM generate_series(1, 40000) n",
    "INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(100, 999) n",
    "INSERT INTO orders SELECT 1000 + n, 100 + n % 900, n * 7 % 1000 + 1000, date '2026-01-01' + n % 300, 10 + n % 80 FROM generate_series(1, 1000) n",
];

/// What all orders come to.
const CENTS: u64 = 1_499_500;

/// The order that is tampered with, as both formats hold it.
const ROW: &str = "1500\t600\t1500\t2026-07-20\t30\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    PlainGzip,
    PlainZstd,
    CustomGzip,
    CustomZstd,
}

use Kind::{CustomGzip, CustomZstd, PlainGzip, PlainZstd};

/// For what differs with the layout, with the compression, with both, with neither.
const LAYOUTS: &[Kind] = &[PlainGzip, CustomZstd];
const COMPRESSIONS: &[Kind] = &[PlainGzip, PlainZstd];
const ALL: &[Kind] = &[PlainGzip, PlainZstd, CustomGzip, CustomZstd];
const ONE: &[Kind] = &[PlainGzip];
const ARCHIVES: &[Kind] = &[CustomGzip];

impl Kind {
    fn word(self) -> &'static str {
        match self {
            PlainGzip => "plain-gzip",
            PlainZstd => "plain-zstd",
            CustomGzip => "custom-gzip",
            CustomZstd => "custom-zstd",
        }
    }

    fn format(self) -> Format {
        if matches!(self, PlainGzip | PlainZstd) { Format::Plain } else { Format::Custom }
    }

    fn format_word(self) -> &'static str {
        if self.format() == Format::Plain { "plain" } else { "custom" }
    }

    fn compression(self) -> Compression {
        if matches!(self, PlainGzip | CustomGzip) { Compression::Gzip } else { Compression::Zstd }
    }
}

/// A dump with everything that is in it.
struct Dump {
    manifest: Manifest,
    stored: Vec<u8>,
    plain: Vec<u8>,
}

/// What the cases are made with.
struct Bench {
    rig: Rig,
    good: Vec<(Kind, Dump)>,
    /// Of the same database after a disaster that nobody had noticed.
    late: Vec<(Kind, Dump)>,
}

/// A dump as it lies in a store: its object may be gone.
struct Broken(Manifest, Option<Vec<u8>>);

struct Case {
    name: &'static str,
    /// What was done to a good dump.
    how: &'static str,
    of: &'static [Kind],
    make: fn(&Bench, &Dump) -> Broken,
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    CaughtAt(Level),
    /// It was not passed, and not called bad either.
    UntoldAt(Level),
    Good,
}

impl Bench {
    fn set_up() -> Bench {
        let rig = Rig::open(&Wanted { rest: &jobs(), ..Wanted::default() });
        fs::create_dir(rig.dir.path().join("proof")).unwrap();
        rig.execute("orders", &SCHEMA);
        let make = |kind: Kind| (kind, Dump::make(&rig, kind));
        let good = ALL.iter().map(|kind| make(*kind)).collect();
        rig.execute("orders", &["DELETE FROM orders WHERE id > 1600"]);
        // Their names hold seconds.
        let late = LAYOUTS.iter().map(|kind| make(*kind)).collect();
        Bench { rig, good, late }
    }

    fn cx(&self) -> &Context {
        &self.rig.cx
    }

    fn good(&self, kind: Kind) -> &Dump {
        &self.good.iter().find(|(other, _)| *other == kind).unwrap().1
    }

    fn packed(&self, plain: &[u8], compression: Compression) -> Vec<u8> {
        let packer: Box<dyn Filter> = match compression {
            Compression::Gzip => Box::new(Gzip::default()),
            Compression::Zstd => Box::new(Zstd::default()),
        };
        drain(packer.wrap(stream(plain), self.cx()).unwrap()).unwrap()
    }

    fn encrypted(&self, bytes: &[u8]) -> Vec<u8> {
        self.encrypted_to(&keys(self.cx()).public, bytes)
    }

    fn encrypted_to(&self, public: &Path, bytes: &[u8]) -> Vec<u8> {
        let recipients = PublicKeys::load(&[public.to_owned()], self.cx()).unwrap();
        drain(Box::new(Encrypt::to(&recipients)).wrap(stream(bytes), self.cx()).unwrap()).unwrap()
    }

    /// The plain dump was such when it came to the pipeline: every hash agrees with it, only what was counted does not.
    fn remade(&self, dump: &Dump, plain: &[u8]) -> Broken {
        let manifest = Manifest { plain: digest(plain), ..dump.manifest.clone() };
        self.resealed(manifest, &self.packed(plain, dump.manifest.compression))
    }

    /// The same, and its tables were counted and hashed as they are.
    fn counted(&self, dump: &Dump, plain: &[u8]) -> Broken {
        let mut inspector = Inspector::new(dump.manifest.format);
        inspector.feed(plain).unwrap();
        let Broken(manifest, stored) = self.remade(dump, plain);
        Broken(Manifest { tables: inspector.finish().unwrap().tables, ..manifest }, stored)
    }

    /// The compressed dump was such when it was encrypted.
    fn resealed(&self, manifest: Manifest, packed: &[u8]) -> Broken {
        sealed(manifest, self.encrypted(packed))
    }

    fn unpacked(&self, dump: &Dump) -> Vec<u8> {
        self.packed(&dump.plain, dump.manifest.compression)
    }
}

/// What stock gpg makes of it.
fn gpg(args: &[&str], bytes: &[u8]) -> Vec<u8> {
    let home = tempfile::Builder::new().prefix("lbc").tempdir_in("/tmp").unwrap();
    fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut gpg = Command::new("gpg");
    gpg.arg("--homedir").arg(home.path()).args(["--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"]).args(args);
    let mut child = gpg.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let fed = std::thread::spawn(move || stdin.write_all(&bytes));
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert!(child.wait().unwrap().success() && fed.join().unwrap().is_ok());
    Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).status().unwrap();
    out
}

/// The object was such when its hash was taken.
fn sealed(manifest: Manifest, stored: Vec<u8>) -> Broken {
    Broken(Manifest { stored: digest(&stored), ..manifest }, Some(stored))
}

/// The object became such later.
fn spoiled(dump: &Dump, change: impl FnOnce(&mut Vec<u8>)) -> Broken {
    let mut stored = dump.stored.clone();
    change(&mut stored);
    Broken(dump.manifest.clone(), Some(stored))
}

fn digest(bytes: &[u8]) -> Digest {
    Digest { bytes: bytes.len() as u64, sha256: hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes)) }
}

/// The text once, where it first stands; in an archive it must stay as long as it is.
fn replaced(plain: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = memchr::memmem::find(plain, from.as_bytes()).unwrap_or_else(|| panic!("no {from:?} in the dump"));
    assert!(from.len() == to.len() || !plain.starts_with(b"PGDMP"), "{from:?} and {to:?} differ in length");
    [&plain[..at], to.as_bytes(), &plain[at + from.len()..]].concat()
}

/// The rows were such when they were counted and hashed.
fn in_row(bench: &Bench, dump: &Dump, to: &str) -> Broken {
    bench.counted(dump, &replaced(&dump.plain, ROW, to))
}

fn without(plain: &[u8], from: &str, to: &str) -> Vec<u8> {
    let start = memchr::memmem::find(plain, from.as_bytes()).unwrap();
    let end = start + memchr::memmem::find(&plain[start..], to.as_bytes()).unwrap() + to.len();
    [&plain[..start], &plain[end..]].concat()
}

fn cut(plain: &[u8], at: &str) -> Vec<u8> {
    plain[..memchr::memmem::find(plain, at.as_bytes()).unwrap()].to_vec()
}

impl Dump {
    fn make(rig: &Rig, kind: Kind) -> Dump {
        let manifest = rig.engine.backup(kind.word(), &rig.cx).unwrap().remove(0);
        let job = rig.engine.inventory().job(kind.word()).unwrap();
        let mut stored = Vec::new();
        rig.engine.store(job, &rig.cx).unwrap().get(&manifest.object, None, &rig.cx).unwrap().read_to_end(&mut stored).unwrap();
        let plain = drain(rig.engine.read(kind.word(), &manifest, &rig.cx).unwrap()).unwrap();
        Dump { manifest, stored, plain }
    }
}

const CASES: &[Case] = &[
    Case { name: "nothing", how: "a good dump", of: ALL, make: |_, dump| Broken(dump.manifest.clone(), Some(dump.stored.clone())) },
    Case {
        name: "nothing, compressed twice",
        how: "encrypted by stock gpg with its own compression on top; opens as well",
        of: ONE,
        make: |bench, dump| {
            let key = keys(bench.cx()).public.display().to_string();
            let args = ["--trust-model", "always", "--recipient-file", &key, "--compress-algo", "zlib", "--encrypt"];
            sealed(dump.manifest.clone(), gpg(&args, &bench.unpacked(dump)))
        },
    },
    Case { name: "the object is gone", how: "removed from the store", of: ONE, make: |_, dump| Broken(dump.manifest.clone(), None) },
    Case { name: "the object is empty", how: "cut to 0 bytes", of: ONE, make: |_, dump| spoiled(dump, Vec::clear) },
    Case {
        name: "the object lacks its last byte",
        how: "cut by one byte",
        of: ONE,
        make: |_, dump| spoiled(dump, |bytes| bytes.truncate(bytes.len() - 1)),
    },
    Case {
        name: "the object is cut in the middle",
        how: "cut to a half",
        of: ONE,
        make: |_, dump| spoiled(dump, |bytes| bytes.truncate(bytes.len() / 2)),
    },
    Case {
        name: "the object goes on after its end",
        how: "bytes appended",
        of: ONE,
        make: |_, dump| spoiled(dump, |bytes| bytes.extend(b"more")),
    },
    Case {
        name: "another dump under this name",
        how: "the objects of two good dumps changed places",
        of: ONE,
        make: |bench, dump| Broken(dump.manifest.clone(), Some(bench.good(PlainZstd).stored.clone())),
    },
    Case {
        name: "the manifest of another dump",
        how: "a good manifest beside the wrong object",
        of: ONE,
        make: |bench, dump| {
            let other = &bench.good(PlainZstd).manifest;
            Broken(Manifest { object: dump.manifest.object.clone(), ..other.clone() }, Some(dump.stored.clone()))
        },
    },
    Case { name: "a bit of the first bytes", how: "byte 5 flipped", of: ONE, make: |_, dump| spoiled(dump, |bytes| bytes[5] ^= 1) },
    Case {
        name: "a bit in the middle",
        how: "one bit flipped half-way",
        of: ALL,
        make: |_, dump| {
            spoiled(dump, |bytes| {
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
            })
        },
    },
    Case {
        name: "a bit of the last bytes",
        how: "the last byte but one flipped",
        of: ONE,
        make: |_, dump| {
            spoiled(dump, |bytes| {
                let at = bytes.len() - 2;
                bytes[at] ^= 1;
            })
        },
    },
    Case {
        name: "a block of zeros",
        how: "4 KiB overwritten, as a torn write leaves them",
        of: ONE,
        make: |_, dump| {
            spoiled(dump, |bytes| {
                let at = bytes.len() / 3;
                bytes[at..at + 4096].fill(0);
            })
        },
    },
    Case {
        name: "the same dump, encrypted again",
        how: "same plaintext, same length, other bytes: not what was stored",
        of: ONE,
        make: |bench, dump| Broken(dump.manifest.clone(), Some(bench.encrypted(&bench.unpacked(dump)))),
    },
    Case {
        name: "encrypted for somebody else",
        how: "a key nobody here has",
        of: ONE,
        make: |bench, dump| {
            let other = tempfile::tempdir().unwrap();
            let other = Keys::generate(other.path(), 2048, bench.cx()).unwrap();
            sealed(dump.manifest.clone(), bench.encrypted_to(&other.public, &bench.unpacked(dump)))
        },
    },
    Case {
        name: "encrypted with a passphrase",
        how: "gpg --symmetric instead of the key",
        of: ONE,
        make: |bench, dump| sealed(dump.manifest.clone(), gpg(&["--passphrase", "x", "--symmetric"], &bench.unpacked(dump))),
    },
    Case {
        name: "not encrypted",
        how: "stored compressed and in clear",
        of: ONE,
        make: |bench, dump| sealed(dump.manifest.clone(), bench.unpacked(dump)),
    },
    Case {
        name: "no integrity protection",
        how: "the packet made one without MDC (tag 9)",
        of: ONE,
        make: |_, dump| {
            let mut stored = dump.stored.clone();
            // The packet with the session key comes first, in the old format with two bytes of length; then, in the new one, tag 18.
            assert_eq!(stored[0], 0x85);
            let at = 3 + usize::from(u16::from_be_bytes([stored[1], stored[2]]));
            assert_eq!(stored[at], 0xD2);
            stored[at] = 0xC9;
            sealed(dump.manifest.clone(), stored)
        },
    },
    Case {
        name: "compressed otherwise than it says",
        how: "gzip where zstd should be, or the other way round",
        of: COMPRESSIONS,
        make: |bench, dump| {
            let other = if dump.manifest.compression == Compression::Gzip { Compression::Zstd } else { Compression::Gzip };
            bench.resealed(dump.manifest.clone(), &bench.packed(&dump.plain, other))
        },
    },
    Case {
        name: "nothing was encrypted",
        how: "gpg -e < /dev/null",
        of: ONE,
        make: |bench, dump| bench.resealed(dump.manifest.clone(), b""),
    },
    Case {
        name: "the message lacks its integrity check",
        how: "its last 22 bytes, the MDC, cut off before the hash",
        of: ONE,
        make: |_, dump| sealed(dump.manifest.clone(), dump.stored[..dump.stored.len() - 22].to_vec()),
    },
    Case {
        name: "cut between compressor and gpg",
        how: "the last bytes of the compressed stream are missing",
        of: COMPRESSIONS,
        make: |bench, dump| {
            let packed = bench.unpacked(dump);
            bench.resealed(dump.manifest.clone(), &packed[..packed.len() - 5])
        },
    },
    Case {
        name: "cut in the middle between compressor and gpg",
        how: "half of the compressed stream",
        of: COMPRESSIONS,
        make: |bench, dump| {
            let packed = bench.unpacked(dump);
            bench.resealed(dump.manifest.clone(), &packed[..packed.len() / 2])
        },
    },
    Case {
        name: "a bit between compressor and gpg",
        how: "one bit of the compressed stream flipped",
        of: COMPRESSIONS,
        make: |bench, dump| {
            let mut packed = bench.unpacked(dump);
            let at = packed.len() / 2;
            packed[at] ^= 4;
            bench.resealed(dump.manifest.clone(), &packed)
        },
    },
    Case {
        name: "garbage after the compressed stream",
        how: "bytes appended before encryption",
        of: COMPRESSIONS,
        make: |bench, dump| bench.resealed(dump.manifest.clone(), &[&bench.unpacked(dump)[..], b"garbage"].concat()),
    },
    Case {
        name: "a gzip member is missing",
        how: "cut where a member ends: gunzip is content",
        of: ONE,
        make: |bench, dump| bench.resealed(dump.manifest.clone(), &bench.packed(&dump.plain[..1 << 20], Compression::Gzip)),
    },
    Case {
        name: "a flipped bit that the hash has not seen",
        how: "one bit of a row, after the dump was hashed and counted",
        of: LAYOUTS,
        make: |bench, dump| {
            let plain = replaced(&dump.plain, ROW, "1500\t600\t1501\t2026-07-20\t30\n");
            bench.resealed(dump.manifest.clone(), &bench.packed(&plain, dump.manifest.compression))
        },
    },
    Case {
        name: "a dump of another database",
        how: "valid and whole, its manifest's hash is another's",
        of: LAYOUTS,
        make: |bench, dump| {
            let late = &bench.late.iter().find(|(kind, _)| kind.format() == dump.manifest.format).unwrap().1;
            bench.resealed(dump.manifest.clone(), &bench.packed(&late.plain, dump.manifest.compression))
        },
    },
    Case {
        name: "an empty dump",
        how: "gzip < /dev/null | gpg -e, hashes agreeing: the key opens it",
        of: ALL,
        make: |bench, dump| bench.remade(dump, b""),
    },
    Case {
        name: "cut within rows",
        how: "pg_dump died inside a COPY, hashes agreeing",
        of: COMPRESSIONS,
        make: |bench, dump| bench.remade(dump, &cut(&dump.plain, ROW)),
    },
    Case {
        name: "cut after rows",
        how: "pg_dump died after a COPY; keys and indexes never came",
        of: ONE,
        make: |bench, dump| bench.remade(dump, &cut(&dump.plain, "-- Name: loose; Type: SEQUENCE SET")),
    },
    Case {
        name: "no closing line",
        how: "everything is there but pg_dump's last words",
        of: ONE,
        make: |bench, dump| bench.remade(dump, &cut(&dump.plain, "-- PostgreSQL database dump complete")),
    },
    Case {
        name: "the closing line among the rows",
        how: "cut within rows, after one that reads like pg_dump's last line",
        of: ONE,
        make: |bench, dump| {
            let trailer = "\n--\n-- PostgreSQL database dump complete\n--\n\n";
            bench.remade(dump, &[&cut(&dump.plain, ROW)[..], trailer.as_bytes()].concat())
        },
    },
    Case {
        name: "two dumps in one",
        how: "the dump twice, one after the other",
        of: ALL,
        make: |bench, dump| bench.remade(dump, &[&dump.plain[..], &dump.plain[..]].concat()),
    },
    Case {
        name: "a statement after the end",
        how: "something was added to the dump",
        of: ONE,
        make: |bench, dump| bench.remade(dump, &[&dump.plain[..], b"DROP TABLE orders;\n"].concat()),
    },
    Case {
        name: "a command for psql",
        how: "\\! true, which psql gives to a shell",
        of: ONE,
        make: |bench, dump| {
            bench.remade(dump, &replaced(&dump.plain, "CREATE TABLE public.ballast", "\\! true\nCREATE TABLE public.ballast"))
        },
    },
    Case {
        name: "an archive cut to 60 %",
        how: "pg_restore --list passes it",
        of: ARCHIVES,
        make: |bench, dump| bench.remade(dump, &dump.plain[..dump.plain.len() * 3 / 5]),
    },
    Case {
        name: "an archive with a wrong length in its contents",
        how: "one byte of the table of contents",
        of: ARCHIVES,
        make: |bench, dump| bench.remade(dump, &replaced(&dump.plain, "\x08\0\0\0ENCODING", "\x09\0\0\0ENCODING")),
    },
    Case {
        name: "SQL where an archive should be",
        how: "a good plain dump under an archive's name",
        of: ARCHIVES,
        make: |bench, dump| bench.remade(dump, &bench.good(PlainGzip).plain.clone()),
    },
    Case {
        name: "a lost table",
        how: "the rows of one table left out",
        of: ONE,
        make: |bench, dump| bench.remade(dump, &without(&dump.plain, "COPY public.customers", "\n\\.\n")),
    },
    Case { name: "a lost row", how: "one row left out", of: ONE, make: |bench, dump| bench.remade(dump, &replaced(&dump.plain, ROW, "")) },
    Case {
        name: "a wrong row count",
        how: "the manifest says one more",
        of: LAYOUTS,
        make: |_, dump| {
            let mut manifest = dump.manifest.clone();
            manifest.tables.get_mut("public.orders").unwrap().rows += 1;
            Broken(manifest, Some(dump.stored.clone()))
        },
    },
    Case {
        name: "another value in as many rows and bytes",
        how: "one sum is a cent higher, and all hashes agree but that of its table's rows",
        of: LAYOUTS,
        make: |bench, dump| bench.remade(dump, &replaced(&dump.plain, ROW, "1500\t600\t1501\t2026-07-20\t30\n")),
    },
    Case {
        name: "a lost foreign key",
        how: "ADD CONSTRAINT left out",
        of: ONE,
        make: |bench, dump| {
            bench.remade(dump, &without(&dump.plain, "ALTER TABLE ONLY public.orders\n    ADD CONSTRAINT orders_customer_fkey", ";\n"))
        },
    },
    Case {
        name: "a lost index",
        how: "CREATE INDEX left out",
        of: ONE,
        make: |bench, dump| bench.remade(dump, &without(&dump.plain, "CREATE INDEX orders_at", ";\n")),
    },
    Case {
        name: "an archive with a section there is not",
        how: "one byte of the table of contents that only pg_restore reads",
        of: ARCHIVES,
        make: |bench, dump| bench.remade(dump, &replaced(&dump.plain, "\x05\0\0\0TABLE\0\x02\0\0\0", "\x05\0\0\0TABLE\0\x09\0\0\0")),
    },
    Case {
        name: "a key twice",
        how: "a row got the id of another",
        of: LAYOUTS,
        make: |bench, dump| in_row(bench, dump, "1499\t600\t1500\t2026-07-20\t30\n"),
    },
    Case {
        name: "a reference to nothing",
        how: "an order of a customer there is not",
        of: LAYOUTS,
        make: |bench, dump| in_row(bench, dump, "1500\t099\t1500\t2026-07-20\t30\n"),
    },
    Case {
        name: "a value that is no number",
        how: "a letter within an integer",
        of: LAYOUTS,
        make: |bench, dump| in_row(bench, dump, "15o0\t600\t1500\t2026-07-20\t30\n"),
    },
    Case {
        name: "a day there is not",
        how: "30 February",
        of: LAYOUTS,
        make: |bench, dump| in_row(bench, dump, "1500\t600\t1500\t2026-02-30\t30\n"),
    },
    Case {
        name: "NULL where none may be",
        how: "a value gone",
        of: LAYOUTS,
        make: |bench, dump| in_row(bench, dump, "1500\t600\t1500\t2026-07-20\t\\N\n"),
    },
    Case {
        name: "a value its check forbids",
        how: "a negative sum",
        of: LAYOUTS,
        make: |bench, dump| in_row(bench, dump, "1500\t600\t-500\t2026-07-20\t30\n"),
    },
    Case {
        name: "a row with a column too few",
        how: "a tab became a blank",
        of: LAYOUTS,
        make: |bench, dump| in_row(bench, dump, "1500\t600\t1500\t2026-07-20 30\n"),
    },
    Case {
        name: "bytes that are no characters",
        how: "a byte that UTF-8 does not know",
        of: LAYOUTS,
        make: |bench, dump| {
            let mut plain = dump.plain.clone();
            let at = memchr::memmem::find(&plain, b"600\tcustomer 600\n").unwrap();
            plain[at + 4] = 0xff;
            bench.counted(dump, &plain)
        },
    },
    Case {
        name: "a damaged statement",
        how: "a letter of a view's definition",
        of: LAYOUTS,
        make: |bench, dump| bench.remade(dump, &replaced(&dump.plain, "items > 20", "itams > 20")),
    },
    Case {
        name: "an extension this machine does not have",
        how: "CREATE EXTENSION nowhere",
        of: ONE,
        make: |bench, dump| {
            bench.remade(
                dump,
                &replaced(&dump.plain, "CREATE TABLE public.ballast", "CREATE EXTENSION nowhere;\nCREATE TABLE public.ballast"),
            )
        },
    },
    Case {
        name: "a role this server does not have",
        how: "CREATE POLICY … TO somebody",
        of: ONE,
        make: |bench, dump| {
            let policy = "CREATE POLICY p ON public.orders TO somebody USING (true);\n--\n-- PostgreSQL database dump complete";
            bench.remade(dump, &replaced(&dump.plain, "--\n-- PostgreSQL database dump complete", policy))
        },
    },
    Case {
        name: "a value that is another",
        how: "one sum is a cent higher; every type and constraint holds",
        of: LAYOUTS,
        make: |bench, dump| in_row(bench, dump, "1500\t600\t1501\t2026-07-20\t30\n"),
    },
    Case {
        name: "data that was gone before the dump",
        how: "a good dump made after somebody deleted rows",
        of: LAYOUTS,
        make: |bench, dump| {
            let late = &bench.late.iter().find(|(kind, _)| kind.format() == dump.manifest.format).unwrap().1;
            Broken(late.manifest.clone(), Some(late.stored.clone()))
        },
    },
];

/// Climbs from L0 until a level does not hold. The levels below it were asked, one by one, and held.
fn fate(bench: &Bench, key: &SecretKey, kind: Kind, name: &str, broken: &Broken) -> Fate {
    let (engine, cx) = (&bench.rig.engine, bench.cx());
    let job = engine.inventory().job(kind.word()).unwrap();
    let store = engine.store(job, cx).unwrap();
    let object = format!("broken/{}/{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), broken.0.object);
    let manifest = Manifest { object, ..broken.0.clone() };
    if let Some(bytes) = &broken.1 {
        store.put(&manifest.object, stream(bytes), cx).unwrap();
    }
    for level in [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4] {
        match verify::verify(&manifest, &*store, Some(key), level, cx) {
            Ok(proof) if proof.held => {}
            Ok(proof) => {
                assert_eq!(proof.level, level, "{name}: {proof:?}");
                return Fate::CaughtAt(level);
            }
            Err(_) => return Fate::UntoldAt(level),
        }
    }
    // One server for both: L6 includes L5.
    let records = || {
        let found = store.list(&format!("{}.proof-", manifest.object), cx).unwrap();
        found.into_iter().map(|object| object.key).collect::<Vec<String>>()
    };
    match engine.prove(job, &manifest, Level::L6, cx) {
        Ok(proof) => {
            assert!(proof.held && proof.level == Level::L6 && proof.server.is_some_and(|server| server.starts_with("15.")));
            assert_eq!(proof.asserted, ["what was ordered"]);
            Fate::Good
        }
        Err(_) => match records().as_slice() {
            [] => Fate::UntoldAt(Level::L5),
            [record] if record.contains(".proof-L5-") => Fate::CaughtAt(Level::L5),
            [record] => {
                assert!(record.contains(".proof-L6-"), "{name}: {record}");
                assert!(engine.prove(job, &manifest, Level::L5, cx).unwrap().held, "{name}: L5 holds");
                Fate::CaughtAt(Level::L6)
            }
            several => panic!("{name}: {several:?}"),
        },
    }
}

// B9, B15, C4; TRAPS 1, 4, 5, 7, 8, 13
#[test]
fn every_broken_dump_is_caught_at_the_lowest_level_that_can_see_it() {
    let bench = Bench::set_up();
    let mut table = String::from(
        "# Broken dumps, and what catches them\n\nWritten by `tests/corpus.rs` (`LIFEBOAT_CORPUS=write`), never by hand: each dump is made from a good one, proven level by level from L0, \
         and the level named is the first that does not hold. All levels below it held.\n\n\
         | broken | how | dumps | caught at |\n|---|---|---|---|\n",
    );
    let mut caught = [0_usize; 7];
    let key = bench.rig.engine.secret_key(bench.rig.engine.inventory().job(PlainGzip.word()).unwrap(), bench.cx()).unwrap();
    for case in CASES {
        let mut fates: Vec<(Fate, Vec<&str>)> = Vec::new();
        for kind in case.of {
            let broken = (case.make)(&bench, bench.good(*kind));
            let fate = fate(&bench, &key, *kind, &format!("{} {}", case.name, kind.word()), &broken);
            assert_eq!(
                fate == Fate::Good,
                case.name.starts_with("nothing") && case.name != "nothing was encrypted",
                "{} of {}: {fate:?}",
                case.name,
                kind.word()
            );
            match fates.iter_mut().find(|(known, _)| *known == fate) {
                Some((_, kinds)) => kinds.push(kind.word()),
                None => fates.push((fate, vec![kind.word()])),
            }
        }
        for (fate, kinds) in fates {
            let level = match fate {
                Fate::CaughtAt(level) => {
                    caught[usize::from(level.number())] += 1;
                    level.to_string()
                }
                Fate::UntoldAt(level) => format!("{level}: not called bad, and not proven"),
                Fate::Good => "never: it is good".into(),
            };
            writeln!(table, "| {} | {} | {} | {level} |", case.name, case.how.replace('|', "\\|"), kinds.join(", ")).unwrap();
        }
    }
    assert!(caught.iter().all(|count| *count >= 2), "each level catches some: {caught:?}");
    assert_eq!(fs::read_dir(bench.rig.dir.path().join("proof")).unwrap().count(), 0, "no server is left");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus.md");
    if std::env::var_os("LIFEBOAT_CORPUS").is_some_and(|word| word == "write") {
        fs::write(&path, &table).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == table, "tests/corpus.md says something else; LIFEBOAT_CORPUS=write writes what was seen:\n{table}");
}
