//! What gpg says on its status channel while it works (doc/DETAILS of GnuPG), and what it means.
//!
//! gpgme forgets some of it, and exit statuses do not say why: the words that a message is whole are asked for here.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::port::Log;

/// How long last words may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The words of one operation, shared with the callback that collects them.
#[derive(Clone, Debug, Default)]
pub struct Words(Arc<Mutex<Seen>>);

/// What was said.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    said: BTreeSet<&'static str>,
    /// Key ids the message is encrypted to.
    pub encrypted_to: Vec<String>,
    /// Recipients it could not encrypt to: gpg's reason number and the key.
    pub bad_recipients: Vec<String>,
    /// Everything else that tells of a failure.
    pub complaints: Vec<String>,
    /// A passphrase was asked for.
    pub asked: bool,
}

impl Seen {
    /// gpg itself ended the message it made.
    pub fn encrypted(&self) -> bool {
        self.said.contains("END_ENCRYPTION")
    }

    /// One of our keys opened the message.
    pub fn opened(&self) -> bool {
        self.said.contains("DECRYPTION_KEY")
    }

    /// Plaintext was found in it.
    pub fn plaintext(&self) -> bool {
        self.said.contains("PLAINTEXT")
    }

    /// Its integrity check (MDC) failed.
    pub fn broken(&self) -> bool {
        self.said.contains("BADMDC")
    }

    /// gpg gave it up.
    pub fn failed(&self) -> bool {
        self.said.contains("DECRYPTION_FAILED")
    }

    /// Its key opened, its integrity check held, and gpg is content with all of it.
    pub fn decrypted(&self) -> bool {
        ["DECRYPTION_KEY", "GOODMDC", "DECRYPTION_OKAY"].iter().all(|word| self.said.contains(word)) && !self.broken()
    }
}

impl Words {
    /// For `gpgme::Context::with_status_handler`. The binding hands keyword and arguments over in the wrong order (gpgme 0.11), so the one
    /// that is a known keyword is taken for it.
    pub fn listener(&self) -> impl FnMut(Option<&CStr>, Option<&CStr>) -> gpgme::Result<()> + Send + std::panic::UnwindSafe + use<> {
        let words = self.clone();
        move |one, other| {
            let text = |words: Option<&CStr>| words.map(|words| words.to_string_lossy().into_owned()).unwrap_or_default();
            let (one, other) = (text(one), text(other));
            match known(&other) {
                Some(keyword) => words.hear(keyword, &one),
                None => known(&one).map_or((), |keyword| words.hear(keyword, &other)),
            }
            Ok(())
        }
    }

    /// For a gpg of our own, with its status on stderr: takes what is meant for machines, and passes on to `other` what is meant for people.
    pub fn log(&self, other: Log) -> Log {
        let words = self.clone();
        Log::to(move |who, line| {
            let Some(status) = line.strip_prefix("[GNUPG:] ") else {
                words.complain(line);
                return other.say(who, line);
            };
            let (keyword, arguments) = status.split_once(' ').unwrap_or((status, ""));
            if let Some(keyword) = known(keyword) {
                words.hear(keyword, arguments);
            }
        })
    }

    /// Everything a gpg that has ended said. Its last words may still be on their way through the pipe for a moment.
    pub fn seen_after_the_end(&self) -> Seen {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen();
            if seen.said.iter().any(|word| word.starts_with("END_")) || Instant::now() > until {
                return seen;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn complain(&self, line: &str) {
        let line: String = line.chars().filter(|c| !c.is_control()).take(300).collect();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.complaints.len() < 8 {
            seen.complaints.push(line);
        }
    }

    /// A passphrase was asked for.
    pub fn asked(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked = true;
    }

    /// Everything said so far.
    pub fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, keyword: &'static str, arguments: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.said.insert(keyword);
        match keyword {
            "ENC_TO" if seen.encrypted_to.len() < 100 => {
                seen.encrypted_to.push(arguments.split_whitespace().next().unwrap_or_default().to_owned());
            }
            "INV_RECP" => seen.bad_recipients.push(arguments.to_owned()),
            "FAILURE" | "ERROR" | "KEYEXPIRED" if seen.complaints.len() < 20 => {
                seen.complaints.push(format!("gpg says {keyword} {arguments}"));
            }
            _ => {}
        }
    }
}

/// The words [`Words`] listens for.
fn known(word: &str) -> Option<&'static str> {
    const KNOWN: [&str; 13] = [
        "ENC_TO",
        "END_DECRYPTION",
        "DECRYPTION_FAILED",
        "DECRYPTION_KEY",
        "END_ENCRYPTION",
        "PLAINTEXT",
        "GOODMDC",
        "BADMDC",
        "DECRYPTION_OKAY",
        "INV_RECP",
        "FAILURE",
        "ERROR",
        "KEYEXPIRED",
    ];
    KNOWN.into_iter().find(|known| *known == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_in_either_order() {
        let words = Words::default();
        let mut listener = words.listener();
        listener(Some(c"0123456789ABCDEF 1 0"), Some(c"ENC_TO")).unwrap();
        listener(Some(c"DECRYPTION_OKAY"), Some(c"")).unwrap();
        listener(Some(c"A B"), Some(c"DECRYPTION_KEY")).unwrap();
        assert!(!words.seen().decrypted(), "not before the integrity check");
        listener(Some(c""), Some(c"GOODMDC")).unwrap();
        let seen = words.seen();
        assert_eq!(seen.encrypted_to, ["0123456789ABCDEF"]);
        assert!(seen.decrypted() && !seen.broken() && !seen.encrypted());
    }
}
