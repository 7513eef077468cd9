//! Without Lifeboat: a dump opens with gpg, gunzip or zstd, and PostgreSQL's own programs alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::stand::{Case, told};

/// A keyring of stock gpg with the box's private key in it, whose agent ends with it.
struct Ring<'a>(&'a Case);

impl Ring<'_> {
    fn with_the_key(case: &Case) -> Ring<'_> {
        fs::create_dir(case.path("gnupg")).unwrap();
        fs::set_permissions(case.path("gnupg"), fs::Permissions::from_mode(0o700)).unwrap();
        let ring = Ring(case);
        let imported = ring.shell("$GPG --import \"$SECRET_KEY\"");
        assert_eq!(imported.code, 0, "{imported}");
        ring
    }

    /// A line of shell, every program of which must end well.
    fn shell(&self, line: &str) -> super::stand::Told {
        let keys = self.0.stand.the_box.keys();
        let psql = self.0.stand.stock("psql", self.0.dir.path());
        let mut shell = Command::new("bash");
        for (name, value) in psql.get_envs() {
            shell.env(name, value.unwrap());
        }
        let bin = self.0.stand.the_box.cluster().bin();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        shell.env("PATH", path).env("GNUPGHOME", self.0.path("gnupg")).env("SECRET_KEY", &keys.secret);
        shell.env("GPG", format!("gpg --batch --quiet --pinentry-mode loopback --passphrase-file {}", keys.passphrase.display()));
        told(shell.args(["-e", "-o", "pipefail", "-c", line]).current_dir(self.0.dir.path()).output().unwrap())
    }
}

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        Command::new("gpgconf").arg("--homedir").arg(self.0.path("gnupg")).args(["--kill", "all"]).status().ok();
    }
}

/// Rows of every table, counted.
fn counts(case: &Case, database: &str) -> Vec<String> {
    let count = "SELECT format('%I.%I: %s', n.nspname, c.relname, \
                 (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I.%I', n.nspname, c.relname), false, true, '')))[1]) \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
                 WHERE relkind = 'r' AND n.nspname !~ '^(pg_|information_schema)' ORDER BY 1";
    case.stand.ask(database, count)
}

fn restored_as_it_was(case: &Case, line: &str, database: &str) {
    case.stand.execute("postgres", &format!("CREATE DATABASE {database}"));
    let ring = Ring::with_the_key(case);
    let restored = ring.shell(line);
    assert_eq!(restored.code, 0, "{line}: {restored}");
    let expected = counts(case, "orders");
    assert!(expected.iter().any(|row| row == "shop.orders: 500"), "{expected:?}");
    assert_eq!(counts(case, database), expected);
    drop(ring);
    case.stand.execute("postgres", &format!("DROP DATABASE {database}"));
}

#[test]
fn a_plain_dump_is_restored_with_stock_tools_alone() {
    let case = Case::new();
    let dump = case.dump();
    fs::write(case.path(&dump), case.object(&dump)).unwrap();
    let database = case.database("stock");
    let line = format!("$GPG -d {dump} | gunzip | psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -d {database}");
    restored_as_it_was(&case, &line, &database);
}

#[test]
fn a_custom_dump_is_restored_with_stock_tools_alone() {
    let case = Case::new();
    case.edit("format = \"plain\"", "format = \"custom\"").edit(".sql.gz.gpg", ".dump.gz.gpg");
    let dump = case.dump();
    fs::write(case.path(&dump), case.object(&dump)).unwrap();
    let database = case.database("stock");
    let line = format!("$GPG -d {dump} | gunzip >x && pg_restore --exit-on-error --no-owner -j 2 -d {database} x");
    restored_as_it_was(&case, &line, &database);
}

// D1
#[test]
fn a_plain_dump_in_zstd_is_restored_with_stock_tools_alone() {
    let case = Case::new();
    case.edit("compression = \"gzip\"", "compression = \"zstd\"").edit(".sql.gz.gpg", ".sql.zst.gpg");
    let dump = case.dump();
    fs::write(case.path(&dump), case.object(&dump)).unwrap();
    let database = case.database("stock");
    let line = format!("$GPG -d {dump} | zstd -dc | psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -d {database}");
    restored_as_it_was(&case, &line, &database);
}

// D1
#[test]
fn a_custom_dump_in_zstd_is_restored_with_stock_tools_alone() {
    let case = Case::new();
    case.edit("format = \"plain\"", "format = \"custom\"")
        .edit("compression = \"gzip\"", "compression = \"zstd\"\nlevel = 9")
        .edit(".sql.gz.gpg", ".dump.zst.gpg");
    let dump = case.dump();
    fs::write(case.path(&dump), case.object(&dump)).unwrap();
    let database = case.database("stock");
    let line = format!("$GPG -d {dump} | zstd -dc | pg_restore --exit-on-error --no-owner -d {database}");
    restored_as_it_was(&case, &line, &database);
}

#[test]
fn a_custom_dump_in_zstd_is_restored_by_the_program_too() {
    let case = Case::new();
    case.edit("format = \"plain\"", "format = \"custom\"")
        .edit("compression = \"gzip\"", "compression = \"zstd\"")
        .edit(".sql.gz.gpg", ".dump.zst.gpg");
    let (dump, database) = (case.dump(), case.database("new"));
    case.done(&["verify", &dump, "--level", "L4"]);
    case.done(&["restore", &dump, "--into", &database]);
    assert_eq!(counts(&case, &database), counts(&case, "orders"));
    case.stand.execute("postgres", &format!("DROP DATABASE {database}"));
}
