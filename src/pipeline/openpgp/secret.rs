//! A private key for as long as it is needed, and the filter that decrypts with it.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::home::Home;
use super::status::{Seen, Words};
use super::{Bulk, describe, failed, fingerprint};
use crate::port::{Context, Filter, Stream};
use crate::report::{Explain, Kind, Report, Result};

/// Bytes of a message that show whether a key opens it, and unlock the key. They fit into a pipe: gpgme never waits for a gpg that does not read.
const HEAD: usize = 32 << 10;

/// A private key in a throwaway keyring, which lives as long as this and every [`Decrypt`] made from it.
#[derive(Clone)]
pub struct SecretKey(Arc<Inner>);

struct Inner {
    home: Home,
    passphrase: Option<Zeroizing<String>>,
    fingerprints: Vec<String>,
    description: String,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SecretKey").field(&self.0.fingerprints).finish()
    }
}

impl SecretKey {
    /// Takes the private key or keys from `key`, armored or binary. Bytes without a private key are `Kind::Usage`.
    /// Whether the passphrase is right shows when something is opened.
    pub fn load(key: &[u8], passphrase: Option<&str>, cx: &Context) -> Result<SecretKey> {
        Self::import(key, passphrase, "the private key", cx)
    }

    /// The same from a file.
    pub fn load_file(file: &Path, passphrase: Option<&str>, cx: &Context) -> Result<SecretKey> {
        let name = format!("the private key {}", file.display());
        let bytes = fs::read(file).explain(|| name.clone()).map_err(|report| Report { kind: Kind::Usage, ..report })?;
        Self::import(&Zeroizing::new(bytes), passphrase, &name, cx)
    }

    fn import(key: &[u8], passphrase: Option<&str>, name: &str, cx: &Context) -> Result<SecretKey> {
        let export = "gpg --armor --export-secret-keys KEY > FILE";
        let home = Home::for_private_keys(cx)?;
        let mut context = home.context()?;
        let words = Words::default();
        let provider = passphrase_provider(passphrase, &words);
        let result = context
            .with_passphrase_provider(provider, |context| context.import(gpgme::Data::from_buffer(key)?))
            .map_err(|error| Report::usage(format!("{name} cannot be read")).because(error).hint(export))?;
        if result.secret_considered() == 0 {
            return Err(Report::usage(format!("{name} is not a private key")).hint(export));
        }
        let keys: std::result::Result<Vec<gpgme::Key>, _> =
            context.secret_keys().map_err(|error| failed("listing private keys", error))?.collect();
        let keys = keys.map_err(|error| failed("listing private keys", error))?;
        if keys.is_empty() {
            return Err(Report::usage(format!("{name} was not accepted by gpg")).hint("gpg --show-keys FILE"));
        }
        let description = keys.iter().map(describe).collect::<Vec<_>>().join(", ");
        let fingerprints = keys.iter().map(fingerprint).collect();
        let passphrase = passphrase.map(|words| Zeroizing::new(words.to_owned()));
        Ok(SecretKey(Arc::new(Inner { home, passphrase, fingerprints, description })))
    }

    /// Primary key fingerprints, upper-case hex.
    pub fn fingerprints(&self) -> &[String] {
        &self.0.fingerprints
    }

    /// The throwaway keyring, which is removed with this.
    pub fn home(&self) -> &Path {
        self.0.home.path()
    }

    /// Proves that this key opens the message that begins with `first_bytes`, without the rest of it: the session key is opened and the body
    /// begins to decrypt. Gives the plaintext as far as they go, at most 1 MiB; 64 KiB are enough for some.
    pub fn opens(&self, first_bytes: &[u8], cx: &Context) -> Result<Vec<u8>> {
        self.unlock(&first_bytes[..first_bytes.len().min(HEAD)])?;
        let mut plain = Vec::new();
        let mut bulk = self.bulk(Box::new(io::Cursor::new(first_bytes.to_vec())), cx)?;
        let end = bulk.by_ref().take(1 << 20).read_to_end(&mut plain);
        match end {
            // A message that goes on ends badly here; what came out of it before is the proof.
            Err(error) if plain.is_empty() => Err(Report::from_io("opening the message", error)),
            _ => Ok(plain),
        }
    }

    /// The head of a message through gpgme: says early and clearly what is wrong, and makes the agent of the keyring know the passphrase,
    /// which so never reaches a file or the arguments of the gpg that does the rest.
    fn unlock(&self, head: &[u8]) -> Result<()> {
        let mut context = self.0.home.context()?;
        let words = Words::default();
        let provider = passphrase_provider(self.0.passphrase.as_ref().map(|words| words.as_str()), &words);
        // What plaintext comes out is not waited for by gpgme once gpg complains about the missing rest, so it means nothing.
        let mut plain = Vec::new();
        let result = context.with_passphrase_provider(provider, |context| {
            context.with_status_handler(words.listener(), |context| context.decrypt(head, &mut plain).map(drop))
        });
        let seen = words.seen();
        if seen.opened() && seen.plaintext() {
            return Ok(());
        }
        let report = self.judge(&seen, result.is_err()).err().unwrap_or_else(|| Report::refused("the message holds nothing"));
        Err(match result {
            Err(error) => report.because(error),
            Ok(()) => report,
        })
    }

    /// All of a message, through a gpg of its own; the key is unlocked.
    fn bulk(&self, input: Stream, cx: &Context) -> Result<Bulk> {
        let key = self.clone();
        Bulk::start(&self.0.home, &["--output", "-", "--decrypt"], input, move |seen| key.judge(seen, seen.failed()), cx)
    }

    /// What gpg's words mean. Only a message whose key opened, whose integrity check held and with which gpg is content is whole.
    fn judge(&self, seen: &Seen, gave_up: bool) -> Result<()> {
        if seen.decrypted() {
            return Ok(());
        }
        let ours = &self.0.description;
        let report = if seen.encrypted_to.is_empty() {
            Report::refused("this is not an OpenPGP message to a public key, or its beginning is lost")
        } else if !seen.opened() && seen.asked && self.0.passphrase.is_none() {
            Report::usage(format!("the private key {ours} needs a passphrase, and none was given"))
                .hint("set `passphrase` beside `secret` in the key's part of the configuration")
        } else if !seen.opened() && seen.asked {
            Report::failed(format!("the passphrase given does not open the private key {ours}"))
                .hint("look at `passphrase` in the key's part of the configuration")
        } else if !seen.opened() {
            let keys = seen.encrypted_to.join(", ");
            let hint = format!("find who has it: gpg --list-secret-keys {}", seen.encrypted_to.join(" "));
            Report::refused(format!("the message is encrypted to {keys}, not to the key given, {ours}")).hint(hint)
        } else if seen.broken() {
            Report::refused("the encrypted message was cut or manipulated: its integrity check failed")
        } else if gave_up {
            Report::refused("the encrypted message is cut or damaged: it ends before its integrity check")
        } else {
            Report::failed("gpg ended before it had checked the whole message")
        };
        Err(seen.complaints.iter().fold(report, Report::cause))
    }
}

/// Gives the passphrase once. Asked again, it was wrong; asked without having one, it says so.
fn passphrase_provider(
    passphrase: Option<&str>,
    words: &Words,
) -> impl FnMut(gpgme::PassphraseRequest<'_>, &mut dyn Write) -> gpgme::Result<()> + Send + std::panic::UnwindSafe + use<> {
    let passphrase = passphrase.map(|words| Zeroizing::new(words.to_owned()));
    let words = words.clone();
    move |request, out| {
        words.asked();
        match &passphrase {
            Some(passphrase) if !request.prev_attempt_failed => Ok(out.write_all(passphrase.as_bytes())?),
            _ => Err(gpgme::Error::CANCELED),
        }
    }
}

/// Decrypts. All plaintext may have come out before the integrity check fails: then the stream ends in an error, and nothing that was read
/// from it may count.
#[derive(Clone, Debug)]
pub struct Decrypt {
    key: SecretKey,
}

impl Decrypt {
    /// With this key.
    pub fn with(key: &SecretKey) -> Decrypt {
        Decrypt { key: key.clone() }
    }
}

impl Filter for Decrypt {
    fn name(&self) -> &'static str {
        "openpgp"
    }

    fn wrap(self: Box<Self>, input: Stream, cx: &Context) -> Result<Stream> {
        Ok(Box::new(Decrypted { bulk: None, input: Some(input), key: self.key, cx: cx.clone() }))
    }
}

/// Dropped in this order: first gpg, then its keyring. gpg is started by the first read, because making a stream must not block.
struct Decrypted {
    bulk: Option<Bulk>,
    input: Option<Stream>,
    key: SecretKey,
    cx: Context,
}

impl Decrypted {
    fn start(&mut self, mut input: Stream) -> io::Result<Bulk> {
        let mut head = Vec::with_capacity(HEAD);
        input.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        self.key.unlock(&head)?;
        Ok(self.key.bulk(Box::new(io::Cursor::new(head).chain(input)), &self.cx)?)
    }
}

impl Read for Decrypted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(input) = self.input.take() {
            self.bulk = Some(self.start(input)?);
        }
        match &mut self.bulk {
            Some(bulk) => bulk.read(into),
            None => Err(io::Error::other("the message could not be opened")),
        }
    }
}
