//! A file of SQL that people wrote for `psql`, run so that a file that did not do all it says is never taken for one that did.
//!
//! `psql` alone does not promise that: a file may end inside a string, switch `ON_ERROR_STOP` off, leave early by `\q`, take everything back by
//! `ROLLBACK`, or go on in another database by `\c`, each with exit 0.

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::pattern::discreet;
use crate::port::{Context, Log, nonce};
use crate::report::{Explain, Kind, Report, Result};
use crate::system::postgres::Postgres;
use crate::system::postgres::clients::{Access, Clients};

/// Most bytes of such a file: what is larger is data.
const LARGEST: u64 = 16 << 20;

/// A line of a file that says: not in one transaction.
const NO_TRANSACTION: &str = "-- lifeboat: no transaction";

/// Most lines kept of what psql says.
const HEARD: usize = 2000;

/// A file as it was when the work began: what is run and what is recorded are the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Where it was read.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// SHA-256 of it, lower-case hex.
    pub sha256: String,
}

impl Script {
    /// Reads it, and refuses what could not be trusted to stop at an error.
    pub fn read(path: &Path) -> Result<Script> {
        let cannot = || format!("reading {}", path.display());
        let mut bytes = Vec::new();
        fs::File::open(path).explain(cannot)?.take(LARGEST + 1).read_to_end(&mut bytes).explain(cannot)?;
        if bytes.len() as u64 > LARGEST {
            return Err(Report::usage(format!("{} is larger than {} MiB", path.display(), LARGEST >> 20)));
        }
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let text = String::from_utf8(bytes).explain(|| format!("{} is no UTF-8 text", path.display()))?;
        let commands = |line: &str, words: &[&str]| line.split_whitespace().any(|word| words.contains(&word));
        let sets = |line: &str| commands(line, &["\\set", "\\unset"]) && line.contains("ON_ERROR_STOP");
        if let Some(line) = text.lines().position(sets) {
            return Err(Report::usage(format!("{}:{} sets ON_ERROR_STOP", path.display(), line + 1))
                .cause("a file that goes on after an error publishes what it did not sanitise")
                .hint("take the line out: it is on, always"));
        }
        if let Some(line) = text.lines().position(|line| commands(line, &["\\c", "\\connect"])) {
            return Err(Report::usage(format!("{}:{} connects to something else", path.display(), line + 1))
                .cause("what comes after it would be done to another database than the copy")
                .hint("take it out: the file is run in the copy, whatever that is called"));
        }
        Ok(Script { path: path.to_owned(), text, sha256 })
    }

    /// It includes other files, whose text is not in its digest.
    pub fn includes_others(&self) -> bool {
        let includes = |line: &str| {
            let word = line.split_whitespace().next().unwrap_or_default();
            ["\\i", "\\ir", "\\include", "\\include_relative"].contains(&word)
        };
        self.text.lines().any(includes)
    }

    /// Its name, without where it is.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn in_one_transaction(&self) -> bool {
        !self.text.lines().any(|line| line.trim() == NO_TRANSACTION)
    }
}

impl Postgres {
    /// Runs a file in `database` to its end, or says in which line it failed. `:"database"` and `:'pull'` are its variables.
    pub(super) fn run_script(&self, script: &Script, database: &str, pull: &str, clients: &Clients, cx: &Context) -> Result<()> {
        let access = Access::to(self, cx)?;
        let program = access
            .aim(clients.program("psql"), self, database)
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse", "--set=SHOW_CONTEXT=never"])
            .arg(format!("--set=database={database}"))
            .arg(format!("--set=pull={pull}"))
            .args(["--output=/dev/null", "--file=-"])
            .args(script.in_one_transaction().then_some("--single-transaction"))
            .dir(script.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        let (begin, end) = (Place::asked("begin")?, Place::asked("end")?);
        // Before its first line, so that psql's numbers are the file's.
        let text = format!("{}\\\\ {}\n;\n{}\n", begin.question, script.text, end.question);
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let keep = Arc::clone(&heard);
        let log = Log::to(move |_, line| {
            let mut heard = keep.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.len() < HEARD || is_error(line) {
                heard.push(line.to_owned());
            }
        });
        let quiet = Context { log, ..cx.clone() };
        let said = program.run_with(Box::new(Cursor::new(text.into_bytes())), &quiet);
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let error = heard.iter().find(|line| is_error(line));
        match (said, error) {
            (Err(report), _) if report.kind == Kind::Cancelled => Err(report),
            (_, Some(line)) => Err(script.failed_at(line)),
            (Err(report), None) => Err(Report { causes: Vec::new(), ..report }.under(format!("running {}", script.path.display()))),
            (Ok(said), None) => script.stayed(begin.answer(&said), end.answer(&said)),
        }
    }
}

/// psql's own words for a statement or a command of its own that failed; notices and warnings are none.
fn is_error(line: &str) -> bool {
    [": ERROR:  ", ": FATAL:  ", ": PANIC:  ", ": error: "].iter().any(|mark| line.starts_with("psql:") && line.contains(mark))
}

/// Where psql is: its session, database and transaction, told behind a word that a file cannot know.
struct Place {
    word: String,
    question: String,
}

impl Place {
    fn asked(when: &str) -> Result<Place> {
        let word = format!("{when}_{}", nonce(16)?);
        let question = format!(
            "SELECT pg_backend_pid() || ' ' || current_database() AS {word}_session, txid_current() AS {word}_transaction \\gset \\\\ \
             \\echo {word} :{word}_transaction :{word}_session"
        );
        Ok(Place { word, question })
    }

    /// Transaction and session, where psql came to say it.
    fn answer(&self, said: &[u8]) -> Option<(String, String)> {
        let said = String::from_utf8_lossy(said);
        let place = said.lines().find_map(|line| line.strip_prefix(&self.word)?.strip_prefix(' '))?;
        place.split_once(' ').map(|(transaction, session)| (transaction.to_owned(), session.to_owned()))
    }
}

impl Script {
    /// It came to its end where it began.
    fn stayed(&self, begin: Option<(String, String)>, end: Option<(String, String)>) -> Result<()> {
        let (Some((began_in, session)), Some((ended_in, last))) = (begin, end) else {
            return Err(Report::failed(format!("{} did not come to its end, although psql says so", self.path.display()))
                .cause("it ends inside a string, a comment or an \\if, or leaves by \\q")
                .hint(format!("psql --file={} in a copy", self.path.display())));
        };
        if session != last {
            return Err(Report::failed(format!("{} did not stay in the copy: it connected to something else", self.path.display()))
                .cause(format!("it began in session and database {session}, and ended in {last}"))
                .hint("look what it did there"));
        }
        if self.in_one_transaction() && began_in != ended_in {
            return Err(Report::failed(format!("{} did not stay in its transaction", self.path.display()))
                .cause("by COMMIT or ROLLBACK: what it did may not have been done at once, or not at all")
                .hint(format!("take them out, or put `{NO_TRANSACTION}` on a line of its own into it")));
        }
        Ok(())
    }

    fn failed_at(&self, line: &str) -> Report {
        // `psql:<stdin>:7: ERROR:  …`, or the name of a file it includes.
        let rest = line.strip_prefix("psql:").unwrap_or(line);
        let (place, words) = rest.split_once(": ").unwrap_or(("", rest));
        let own = self.path.display().to_string();
        let place = match place.strip_prefix("<stdin>:").and_then(|line| line.parse::<usize>().ok()) {
            // What does not end is noticed behind the file's last line.
            Some(line) => format!("{own}:{}", line.min(self.text.lines().count().max(1))),
            None => place.replacen("<stdin>", &own, 1),
        };
        let place = if place.is_empty() { own } else { place };
        let report = Report::failed(format!("{place} failed")).cause(discreet(words));
        let hint = if words.contains("cannot run inside a transaction block") || words.contains("cannot be executed from a function") {
            format!("put `{NO_TRANSACTION}` on a line of its own into {}", self.path.display())
        } else {
            "nothing was changed but a database of its own, which is gone; put the file right and pull again".to_owned()
        };
        report.hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Result<Script> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clean.sql");
        fs::write(&path, text).unwrap();
        Script::read(&path)
    }

    // TRAPS 3, 31
    #[test]
    fn a_file_that_would_go_on_after_an_error_is_refused_before_it_starts() {
        for text in ["SELECT 1;\n\\set ON_ERROR_STOP off\n", "  \\unset ON_ERROR_STOP", "\\set ON_ERROR_STOP 1"] {
            let report = script(text).unwrap_err();
            assert!(report.kind == Kind::Usage && report.message.contains("sets ON_ERROR_STOP"), "{report:?}");
        }
        assert!(script("SELECT 1;\n\\set ON_ERROR_STOP off\n").unwrap_err().message.contains("clean.sql:2"));
        assert!(script("-- ON_ERROR_STOP is on\nSELECT 1;").is_ok());
    }

    #[test]
    fn a_failure_is_told_with_file_and_line_and_without_what_it_repeats() {
        let script = script("SELECT 1;\nSELECT 2;").unwrap();
        let report = script.failed_at("psql:<stdin>:2: ERROR:  duplicate key: ada@example.org");
        assert!(report.message.ends_with("clean.sql:2 failed"), "{report:?}");
        assert!(script.failed_at("psql:<stdin>:5: ERROR:  unterminated").message.ends_with("clean.sql:2 failed"));
        assert_eq!(report.causes, ["ERROR:  duplicate key: a**@e******.o**"]);
        assert!(script.failed_at("psql:more.sql:2: error: no file").message.starts_with("more.sql:2"));
        assert!(is_error("psql:<stdin>:1: error: nofile.sql: No such file or directory"));
        assert!(!is_error("psql:<stdin>:1: NOTICE:  table \"a: ERROR\" does not exist, skipping"));
    }

    #[test]
    fn what_it_includes_is_not_in_its_digest_and_is_known() {
        assert!(script("\\ir names.sql\nSELECT 1;").unwrap().includes_others());
        assert!(!script("SELECT '\\if';").unwrap().includes_others());
        assert_eq!(script("").unwrap().sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
