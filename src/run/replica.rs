//! Replicas of stores, as the configuration names them (D7).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::engine::Engine;
use crate::config::{Job, Promise};
use crate::pipeline::catalogue::{self, Listing};
use crate::pipeline::replica::{self, Comparison};
use crate::port::{Context, Store};
use crate::report::{Report, Result};

/// How the replica of one store stands.
#[derive(Clone, Debug, Serialize)]
pub struct Replica {
    /// The primary, by its name in the configuration.
    pub store: String,
    /// The replica, likewise.
    pub replica: String,
    /// What may be missing for so long.
    pub lag: SignedDuration,
    /// What is there and what is not.
    #[serde(flatten)]
    pub comparison: Comparison,
}

impl Replica {
    /// One line for people.
    pub fn words(&self) -> String {
        let Comparison { present, stale, waiting, .. } = &self.comparison;
        let tail = if waiting.is_empty() { String::new() } else { format!(", {} younger than {:#} on their way", waiting.len(), self.lag) };
        match stale.as_slice() {
            [] => format!("{present} dumps in {}{tail}", self.replica),
            [first, ..] => {
                let oldest = stale.iter().min_by_key(|lack| lack.since).unwrap_or(first);
                let why = oldest.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
                format!(
                    "{} of {} dumps are missing in {}; {} since {}{why}",
                    stale.len(),
                    stale.len() + present,
                    self.replica,
                    oldest.dump,
                    oldest.since
                )
            }
        }
    }
}

impl Engine {
    /// The stores that have a replica.
    pub fn replicated(&self) -> Vec<String> {
        let promises = &self.inventory().promises;
        promises.iter().filter(|(_, promise)| promise.replica.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The replica that a store has.
    fn promised(&self, store: &str) -> Result<(&str, SignedDuration)> {
        let inventory = self.inventory();
        inventory.store(store)?;
        match inventory.promises.get(store) {
            Some(Promise { replica: Some(name), replica_lag: lag, .. }) => Ok((name, *lag)),
            _ => Err(Report::usage(format!("the store {store} has no replica")).hint(format!("set `replica` in [store.{store}]"))),
        }
    }

    /// The replica of a job's store, opened, and what the job has there. Proofs are made of what is in the job's own store: a proof of a dump
    /// counts for its copy when both have the same manifest, which says the same hash.
    pub fn replicated_dumps(&self, job: &Job, cx: &Context) -> Result<(Arc<dyn Store>, Listing)> {
        let second = self.inventory().open_store(self.promised(&job.store)?.0, cx)?;
        let mut copies = catalogue::list(&*second, Some(&job.name), cx)?;
        let mut originals = self.listing(&job.name, cx)?.dumps;
        for copy in &mut copies.dumps {
            if let Some(original) = originals.iter_mut().find(|original| original.manifest == copy.manifest) {
                copy.proofs.append(&mut original.proofs);
                copy.proofs.sort_by_key(|proof| proof.at);
            }
        }
        Ok((second, copies))
    }

    /// Looks at both stores, completely, or says why not.
    pub fn replica(&self, store: &str, cx: &Context) -> Result<Replica> {
        let inventory = self.inventory();
        let (name, lag) = self.promised(store)?;
        let (primary, second) = (inventory.open_store(store, cx)?, inventory.open_store(name, cx)?);
        let comparison = replica::compare(&*primary, &*second, lag, Timestamp::now(), cx)?;
        Ok(Replica { store: store.into(), replica: name.into(), lag, comparison })
    }

    /// Copies what is missing, newest first; gives what was copied. What is there under the name and is another dump is not replaced.
    pub fn copy_missing(&self, found: &Replica, cx: &Context) -> Result<Vec<String>> {
        let inventory = self.inventory();
        let (primary, second) = (inventory.open_store(&found.store, cx)?, inventory.open_store(&found.replica, cx)?);
        let lacks = found.comparison.stale.iter().chain(&found.comparison.waiting).filter(|lack| lack.why.is_none());
        lacks.map(|lack| replica::copy(&lack.dump, &*primary, &*second, cx).map(|()| lack.dump.clone())).collect()
    }
}
