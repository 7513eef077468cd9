//! Who may do what with a dumped database, as its manifest keeps it.
//!
//! Manifests lie in clear beside their dumps. Names of roles may be read there; the settings of a database may not: applications keep
//! tokens in them. They are sealed to those who can open the dump.

use std::io::{Cursor, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::openpgp::{Decrypt, Encrypt, PublicKeys, SecretKey};
use crate::port::access::{Access, Grant, Setting};
use crate::port::{Context, Filter};
use crate::report::{Explain, Report, Result};

/// Most bytes of a database's settings.
const LIMIT: u64 = 1 << 20;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The role that owns the database.
    pub owner: String,
    /// Who may do what with it; nothing where PostgreSQL's own default held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<Grant>>,
    /// Every role that the database or something in it names.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What is set for whoever connects to it: an OpenPGP message to the dump's recipients, base64; nothing where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
}

impl Recorded {
    /// Seals it.
    pub fn seal(access: Access, recipients: &PublicKeys, cx: &Context) -> Result<Recorded> {
        let Access { owner, grants, settings, roles } = access;
        if settings.is_empty() {
            return Ok(Recorded { owner, grants, roles, settings: None });
        }
        let what = || "sealing the settings of the database".to_owned();
        let text = serde_json::to_vec(&settings).explain(what)?;
        let mut sealed = Vec::new();
        let mut stream = Box::new(Encrypt::to(recipients)).wrap(Box::new(Cursor::new(text)), cx)?;
        stream.read_to_end(&mut sealed).map_err(|error| Report::from_io(what(), error))?;
        Ok(Recorded { owner, grants, roles, settings: Some(STANDARD.encode(sealed)) })
    }

    /// What of it anybody may read: all but the settings.
    pub fn in_clear(&self) -> Access {
        Access { owner: self.owner.clone(), grants: self.grants.clone(), roles: self.roles.clone(), settings: Vec::new() }
    }

    /// Opens it.
    pub fn open(&self, key: &SecretKey, cx: &Context) -> Result<Access> {
        let settings = self.settings.as_ref().map_or(Ok(Vec::new()), |sealed| settings(sealed, key, cx));
        let settings = settings.map_err(|error| error.under("the settings in the manifest cannot be read"))?;
        Ok(Access { settings, ..self.in_clear() })
    }
}

fn settings(sealed: &str, key: &SecretKey, cx: &Context) -> Result<Vec<Setting>> {
    let sealed = STANDARD.decode(sealed).explain(|| "they are no base64".into())?;
    let stream = Box::new(Decrypt::with(key)).wrap(Box::new(Cursor::new(sealed)), cx)?;
    let mut text = Vec::new();
    stream.take(LIMIT + 1).read_to_end(&mut text).map_err(|error| Report::from_io("they cannot be opened", error))?;
    if text.len() as u64 > LIMIT {
        return Err(Report::refused("they are too long"));
    }
    serde_json::from_slice(&text).explain(|| "they make no sense".into())
}
