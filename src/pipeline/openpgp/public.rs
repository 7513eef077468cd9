//! Public keys, checked before anything is encrypted to them, and the filter that encrypts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gpgme::{Key, Subkey};
use jiff::Timestamp;

use super::home::Home;
use super::status::Seen;
use super::{Bulk, describe, failed, fingerprint};
use crate::port::{Context, Filter, Stream};
use crate::report::{Explain, Report, Result};

/// The recipients of a dump. Their throwaway keyring lives as long as this and every [`Encrypt`] made from it.
#[derive(Clone, Debug)]
pub struct PublicKeys {
    home: Arc<Home>,
    fingerprints: Vec<String>,
    expires: Option<Timestamp>,
}

impl PublicKeys {
    /// Takes the public keys of these files (armored or binary, one or more keys each). Every key must be able to receive a dump today:
    /// not revoked, not expired, with a subkey that encrypts. A file without a key, or with a private one, is `Kind::Usage`.
    pub fn load(files: &[PathBuf], cx: &Context) -> Result<PublicKeys> {
        if files.is_empty() {
            return Err(Report::usage("no recipient: a dump is encrypted to at least one public key"));
        }
        let home = Home::for_public_keys(cx)?;
        let mut context = home.context()?;
        let mut fingerprints = BTreeSet::new();
        for file in files {
            fingerprints.extend(import(&mut context, file)?);
        }
        let mut expires = None;
        for fingerprint in &fingerprints {
            let key =
                context.get_key(fingerprint.as_str()).map_err(|error| failed(format!("the key {fingerprint} is not there"), error))?;
            check(&key, Timestamp::now())?;
            expires = expires.into_iter().chain(end(&key)).min();
        }
        Ok(PublicKeys { home: Arc::new(home), fingerprints: fingerprints.into_iter().collect(), expires })
    }

    /// The throwaway keyring, which is removed with this.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// From when on nothing can be encrypted to one of them; none where that never is.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Primary key fingerprints, upper-case hex, sorted.
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }
}

/// The fingerprints of the keys in a file.
fn import(context: &mut gpgme::Context, file: &Path) -> Result<Vec<String>> {
    let what = || format!("the recipient key {}", file.display());
    let bytes = fs::read(file).explain(what).map_err(|report| Report { kind: crate::report::Kind::Usage, ..report })?;
    let export = "gpg --armor --export KEY > FILE";
    if holds_private_key(&bytes) {
        // Whoever makes dumps must not be able to open them.
        return Err(
            Report::usage(format!("{} holds a private key; dumps are made with the public half alone", file.display())).hint(export)
        );
    }
    let result = context
        .import(&bytes)
        .map_err(|error| Report::usage(format!("{} is not a file of OpenPGP public keys", file.display())).because(error).hint(export))?;
    let found: Vec<String> = result
        .imports()
        .filter(|import| import.result().is_ok())
        .filter_map(|import| Some(import.fingerprint().ok()?.to_uppercase()))
        .collect();
    if found.is_empty() {
        return Err(Report::usage(format!("{} holds no OpenPGP public key", file.display())).hint(export));
    }
    Ok(found)
}

/// Armored, or a binary packet with the tag of a private key (RFC 4880 4.2 and 4.3: tag 5, old or new format).
fn holds_private_key(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"PGP PRIVATE KEY BLOCK").is_some()
        || bytes.first().is_some_and(|tag| (tag & 0b1100_0000 == 0b1000_0000 && (tag >> 2) & 0xf == 5) || *tag == 0b1100_0101)
}

/// Says which recipient cannot receive, and why, before the dump starts.
fn check(key: &Key, now: Timestamp) -> Result<()> {
    let fingerprint = fingerprint(key);
    let refuse = |why: String| Report::usage(format!("nothing can be encrypted to {}: {why}", describe(key)));
    let gone = |subkey: &Subkey<'_>| subkey.expiration_time().and_then(|at| Timestamp::try_from(at).ok()).filter(|at| *at <= now);
    let extend =
        format!("gpg --quick-set-expire {fingerprint} 2y && gpg --quick-set-expire {fingerprint} 2y '*', then export the key again");
    if key.is_revoked() {
        return Err(refuse("it is revoked".into()).hint("export the key that took its place: gpg --armor --export KEY > FILE"));
    }
    if let Some(at) = key.primary_key().as_ref().and_then(gone) {
        return Err(refuse(format!("it expired on {}", day(at))).hint(extend));
    }
    let encrypting: Vec<Subkey<'_>> = key.subkeys().filter(Subkey::can_encrypt).collect();
    if encrypting.iter().any(|subkey| !subkey.is_revoked() && gone(subkey).is_none() && !subkey.is_disabled() && !subkey.is_invalid())
        && !key.is_disabled()
        && !key.is_invalid()
    {
        return Ok(());
    }
    let Some(subkey) = encrypting.iter().max_by_key(|subkey| subkey.creation_time()) else {
        return Err(refuse("it can sign, but has no subkey that encrypts".into())
            .hint(format!("gpg --quick-add-key {fingerprint} rsa4096 encr never, then export the key again")));
    };
    let id = subkey.id().unwrap_or("?");
    Err(match gone(subkey) {
        _ if subkey.is_revoked() => refuse(format!("its encryption subkey {id} is revoked")),
        Some(at) => refuse(format!("its encryption subkey {id} expired on {}", day(at))).hint(extend),
        None => refuse(format!("gpg holds it or its encryption subkey {id} for invalid or disabled")),
    })
}

/// When a key that can receive today no longer can: when it ends itself, or the last of its subkeys that encrypt.
fn end(key: &Key) -> Option<Timestamp> {
    let end = |subkey: &Subkey<'_>| subkey.expiration_time().and_then(|at| Timestamp::try_from(at).ok());
    let usable = key.subkeys().filter(|subkey| subkey.can_encrypt() && !subkey.is_revoked());
    let subkeys = usable.map(|subkey| end(&subkey).unwrap_or(Timestamp::MAX)).max().filter(|at| *at < Timestamp::MAX);
    key.primary_key().as_ref().and_then(end).into_iter().chain(subkeys).min()
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Encrypts to all of the recipients, without gpg's own compression.
#[derive(Clone, Debug)]
pub struct Encrypt {
    keys: PublicKeys,
}

impl Encrypt {
    /// To these.
    pub fn to(keys: &PublicKeys) -> Encrypt {
        Encrypt { keys: keys.clone() }
    }
}

impl Filter for Encrypt {
    fn name(&self) -> &'static str {
        "openpgp"
    }

    fn wrap(self: Box<Self>, input: Stream, cx: &Context) -> Result<Stream> {
        // The keys were checked when they were loaded; trust is a matter of who configured them.
        let mut arguments = vec!["--trust-model", "always", "--compress-algo", "none", "--output", "-", "--encrypt"];
        for fingerprint in &self.keys.fingerprints {
            arguments.extend(["--recipient", fingerprint]);
        }
        let bulk = Bulk::start(&self.keys.home, &arguments, input, judge, cx)?;
        Ok(Box::new(Encrypted { bulk, _keys: self.keys }))
    }
}

/// Dropped in this order: first gpg, then its keyring.
struct Encrypted {
    bulk: Bulk,
    _keys: PublicKeys,
}

impl Read for Encrypted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.bulk.read(into)
    }
}

/// The message is whole only if gpg said that it ended it, to all of them.
fn judge(seen: &Seen) -> Result<()> {
    if seen.encrypted() && seen.bad_recipients.is_empty() {
        return Ok(());
    }
    let report = Report::failed(match seen.bad_recipients.as_slice() {
        [] => "gpg ended before it had encrypted everything".into(),
        bad => format!("gpg did not encrypt to {}", bad.join(", ")),
    });
    Err(seen.complaints.iter().fold(report, Report::cause))
}
