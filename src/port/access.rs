//! Who may do what with a database: what a source can tell of it, and a target is given back.
//!
//! Names and values, never SQL: whoever uses them quotes them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What belongs to a database and is in no dump of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The role that owns it.
    pub owner: String,
    /// Who may do what with it; `None` where nobody ever said, and PostgreSQL's own default holds.
    #[serde(default)]
    pub grants: Option<Vec<Grant>>,
    /// What is set for whoever connects to it.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// Every role that it or something in it names; those that every server has apart.
    #[serde(default)]
    pub roles: Vec<String>,
}

impl Access {
    /// The roles that must be there before anything of it can be.
    pub fn needed(&self) -> BTreeSet<&str> {
        let granted = self.grants.iter().flatten().filter_map(|grant| grant.to.as_deref());
        let set = self.settings.iter().filter_map(|setting| setting.role.as_deref());
        let named = self.roles.iter().map(String::as_str).chain([self.owner.as_str()]);
        named.chain(granted).chain(set).collect()
    }
}

/// One right to a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The role that has it; `None` for everybody.
    #[serde(default)]
    pub to: Option<String>,
    /// `CONNECT`, `CREATE`, `TEMPORARY`.
    pub privilege: String,
    /// It may be passed on.
    #[serde(default)]
    pub grantable: bool,
}

/// One setting of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Only for this role; `None` for everybody.
    #[serde(default)]
    pub role: Option<String>,
    /// `work_mem`, `app.tenant`.
    pub name: String,
    /// As the server keeps it: a list setting as a list of quoted names.
    pub value: String,
}
