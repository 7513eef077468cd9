//! Which dumps a store holds, which of them to take, and what nobody owns.
//!
//! Manifests decide, never names: what has no manifest is no dump, and who made it is what the manifest says. What cannot be understood is
//! reported beside the dumps, not dropped: silence about the newest dump would be the worst answer.

mod selector;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};

use super::history::shrunk;
use super::lease;
use super::manifest::{Dump, ENDINGS, Group, MANIFEST_SUFFIX, MANIFEST_VERSION, Manifest, Member, PROOF_INFIX, Proof};
use super::show;

use crate::port::{Context, Object, Store};
use crate::report::{Explain, Report, Result};

use selector::in_words;
pub use selector::{Moment, Selector, minute};

/// Most bytes of a manifest or a proof; 100,000 tables fit.
const DOCUMENT_LIMIT: u64 = 32 << 20;

/// Manifests asked for at the same time.
const READERS: usize = 8;

/// How far ahead of our clock a dump's moment may be: clocks differ, but not so much.
pub(super) const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The dumps, newest data first. Each has its manifest and an object of the size that one says (L0).
    pub dumps: Vec<Dump>,
    /// What should be a dump and is not.
    pub problems: Vec<Problem>,
    /// Keys of objects named as dumps are, without a manifest.
    pub bare: BTreeSet<String>,
}

/// Something in a store that should be a dump and is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The key of the dump's object.
    pub object: String,
    /// Its manifest, where that could be read.
    pub manifest: Option<Manifest>,
    /// What is wrong with it.
    pub report: Report,
}

/// Everything in `store`, or everything of `job` (exactly that one) and what cannot be said to be of any.
pub fn list(store: &dyn Store, job: Option<&str>, cx: &Context) -> Result<Listing> {
    let objects = store.list("", cx)?;
    let sizes: BTreeMap<&str, u64> = objects.iter().map(|object| (object.key.as_str(), object.size)).collect();
    let names: Vec<&str> = objects.iter().filter_map(|object| object.key.strip_suffix(MANIFEST_SUFFIX)).collect();
    let read = in_parallel(&names, |name| examine(store, name, &sizes, &objects, job, cx));
    let mut listing = Listing { bare: bare(&objects, &names), ..Listing::default() };
    for found in read {
        match found? {
            Found::Dump(dump, unread) => {
                listing.problems.extend(unread.into_iter().map(|report| Problem {
                    object: dump.manifest.object.clone(),
                    manifest: Some(dump.manifest.clone()),
                    report,
                }));
                listing.dumps.push(*dump);
            }
            Found::Problem(problem) => listing.problems.push(*problem),
            Found::NotOurs => {}
        }
    }
    // The moment of the data decides; two of the same moment by when they were done. Never by their names.
    listing.dumps.sort_by_key(|dump| std::cmp::Reverse((dump.manifest.snapshot_at, dump.manifest.ended_at)));
    Ok(listing)
}

/// What is named as a dump and has no manifest.
fn bare(objects: &[Object], dumps: &[&str]) -> BTreeSet<String> {
    let dumps: BTreeSet<&str> = dumps.iter().copied().collect();
    let keys = objects.iter().map(|object| object.key.as_str());
    keys.filter(|key| is_ours(key) && !dumps.contains(key)).map(str::to_owned).collect()
}

enum Found {
    /// With what could not be read of its proofs.
    Dump(Box<Dump>, Vec<Report>),
    Problem(Box<Problem>),
    NotOurs,
}

fn examine(
    store: &dyn Store,
    name: &str,
    sizes: &BTreeMap<&str, u64>,
    objects: &[Object],
    job: Option<&str>,
    cx: &Context,
) -> Result<Found> {
    let problem = |manifest, report| Found::Problem(Box::new(Problem { object: name.into(), manifest, report }));
    let manifest = match read_manifest(store, name, cx)? {
        Ok(manifest) => manifest,
        Err(report) => return Ok(problem(None, report)),
    };
    if job.is_some_and(|job| job != manifest.job) {
        return Ok(Found::NotOurs);
    }
    let stored = manifest.stored.bytes;
    match sizes.get(name) {
        None => return Ok(problem(Some(manifest), Report::refused(format!("{} has a manifest, but the object is gone", show(name))))),
        Some(size) if *size != stored => {
            let report = Report::refused(format!("{} has {size} bytes where its manifest says {stored}", show(name)));
            return Ok(problem(Some(manifest), report));
        }
        Some(_) => {}
    }
    let prefix = format!("{name}{PROOF_INFIX}");
    let keys = objects.iter().map(|object| object.key.as_str()).filter(|key| key.starts_with(&prefix));
    let (proofs, unread) = proofs(store, &manifest, keys, cx)?;
    Ok(Found::Dump(Box::new(Dump { manifest, proofs }), unread))
}

/// One dump by its name, whatever its state: its manifest is enough. An unknown name tells its neighbours.
pub fn find(store: &dyn Store, name: &str, cx: &Context) -> Result<Dump> {
    let manifest_key = format!("{name}{MANIFEST_SUFFIX}");
    if store.head(&manifest_key, cx)?.is_none() {
        let objects = store.list("", cx)?;
        let is_there = objects.iter().any(|object| object.key == name);
        return Err(unknown(name, is_there, objects.iter().filter_map(|object| object.key.strip_suffix(MANIFEST_SUFFIX))));
    }
    let manifest = read_manifest(store, name, cx)??;
    let objects = store.list(&format!("{name}{PROOF_INFIX}"), cx)?;
    let (proofs, _) = proofs(store, &manifest, objects.iter().map(|object| object.key.as_str()), cx)?;
    Ok(Dump { manifest, proofs })
}

/// What every layout of a manifest has.
#[derive(serde::Deserialize)]
struct Version {
    version: u32,
}

/// The outer error: the store did not answer. The inner: it did, and that is no manifest of this dump.
fn read_manifest(store: &dyn Store, name: &str, cx: &Context) -> Result<Result<Manifest>> {
    let text = read_document(store, &format!("{name}{MANIFEST_SUFFIX}"), cx)?;
    let wrong = |why: &str| Err(Report::refused(format!("the manifest of {} cannot be used: {why}", show(name))));
    // The version first: a newer layout need not fit into ours.
    match serde_json::from_slice::<Version>(&text) {
        Ok(Version { version }) if version > MANIFEST_VERSION => return Ok(wrong("it was written by a newer lifeboat")),
        Ok(_) => {}
        Err(error) => return Ok(wrong(&show(&error.to_string()))),
    }
    let manifest: Manifest = match serde_json::from_slice(&text) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(wrong(&show(&error.to_string()))),
    };
    if manifest.object != name {
        return Ok(wrong(&format!("it speaks of {}; dumps are not renamed", show(&manifest.object))));
    }
    let words = [&manifest.id, &manifest.job, &manifest.environment, &manifest.object, &manifest.tool];
    let members = manifest.group.iter().flat_map(|group| group.members.iter().map(|member| &member.object).chain([&group.id]));
    if words.into_iter().chain(&manifest.recipients).chain(members).any(|word| word.chars().any(char::is_control)) {
        return Ok(wrong("it holds control characters where a name should be"));
    }
    Ok(Ok(manifest))
}

/// The records of a dump's proofs, oldest first, and what is wrong with those that cannot be read: a garbled record must not hide a good
/// dump. Those of an earlier dump of the same name do not count.
fn proofs<'a>(store: &dyn Store, dump: &Manifest, keys: impl Iterator<Item = &'a str>, cx: &Context) -> Result<(Vec<Proof>, Vec<Report>)> {
    let (mut proofs, mut unread) = (Vec::new(), Vec::new());
    for key in keys {
        let text = read_document(store, key, cx)?;
        match serde_json::from_slice::<Proof>(&text) {
            Ok(proof) if proof.dump == dump.id => proofs.push(proof),
            Ok(_) => {}
            Err(error) => unread.push(Report::refused(format!("the proof {} cannot be read", show(key))).cause(show(&error.to_string()))),
        }
    }
    proofs.sort_by_key(|proof| proof.at);
    Ok((proofs, unread))
}

fn read_document(store: &dyn Store, key: &str, cx: &Context) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let what = || format!("reading {}", show(key));
    store.get(key, None, cx)?.take(DOCUMENT_LIMIT).read_to_end(&mut text).explain(what)?;
    Ok(text)
}

/// Asks for several at once, and gives the answers in the order of the questions.
fn in_parallel<T: Send>(names: &[&str], ask: impl Fn(&str) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(names.len()));
    std::thread::scope(|scope| {
        for _ in 0..READERS.min(names.len()) {
            scope.spawn(|| {
                while let Some((at, name)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, names.get(at)?))) {
                    let answer = ask(name);
                    answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, answer));
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// A dump that was picked, and the newer ones that were not, each with the reason: whoever restores must know what is lost.
#[derive(Clone, Debug)]
pub struct Picked<'a> {
    /// The dump.
    pub dump: &'a Dump,
    /// `NAME: why not`, newest first.
    pub passed_over: Vec<String>,
}

/// The dumps of one run.
#[derive(Clone, Debug)]
pub struct Together<'a> {
    /// What all of them say of it.
    pub group: &'a Group,
    /// Those that are there, in the order of the members.
    pub dumps: Vec<&'a Dump>,
    /// Those that are not. Only a group that misses none may be restored as one.
    pub missing: Vec<&'a Member>,
}

impl Listing {
    /// The dump that is meant. `Latest` and `Before` take only what no proof disproved, what is not from the future and what has not shrunk
    /// against those before it (G7); nothing, or nothing younger than `max_age`, is `Kind::Refused`. A name, an id and a moment mean one dump,
    /// which is taken as it is. Where the dumps are of more than one database, the others want to be told which; globals are taken by name only.
    pub fn pick(&self, selector: &Selector, database: Option<&str>, max_age: Option<SignedDuration>, now: Timestamp) -> Result<Picked<'_>> {
        let until = match selector {
            Selector::Name(name) => {
                let dump = self.named(name)?;
                let found = dump.manifest.database();
                return match database {
                    Some(wanted) if found != Some(wanted) => Err(Report::refused(format!(
                        "{name} is a dump of {}, not of {}",
                        found.map_or("the server's globals".to_owned(), show),
                        show(wanted)
                    ))),
                    _ => Ok(Picked { dump, passed_over: Vec::new() }),
                };
            }
            Selector::At(moment) => return self.exactly(moment, database),
            Selector::Latest => Timestamp::MAX,
            Selector::Before(instant) => *instant,
        };
        let database = self.which(database)?;
        let is_meant = |manifest: &Manifest| database.is_none_or(|database| manifest.database() == Some(database));
        let mut passed: Vec<(Timestamp, String)> = Vec::new();
        let mut good = None;
        for dump in self.dumps.iter().filter(|dump| dump.manifest.snapshot_at < until && is_meant(&dump.manifest)) {
            let at = dump.manifest.snapshot_at;
            if at.duration_since(now) > CLOCK_TOLERANCE {
                passed.push((at, format!("{}: its data is from the future ({at})", dump.manifest.object)));
            } else if let Some(proof) = dump.disproven() {
                let reason = show(proof.reason.as_deref().unwrap_or("it did not hold"));
                passed.push((at, format!("{}: disproven at {} ({reason})", dump.manifest.object, proof.level)));
            } else if let Some(reason) = shrunk(&dump.manifest, self.before(dump)) {
                passed.push((at, format!("{}: it shrank, {reason}", dump.manifest.object)));
            } else {
                good = Some(dump);
                break;
            }
        }
        let from = good.map_or(Timestamp::MIN, |dump| dump.manifest.snapshot_at);
        for problem in &self.problems {
            // Where even the moment is unknown, it may be the newest of all.
            let at = problem.manifest.as_ref().map_or(Timestamp::MAX, |manifest| manifest.snapshot_at);
            let is_listed = self.dumps.iter().any(|dump| dump.manifest.object == problem.object);
            let may_be_meant = problem.manifest.as_ref().is_none_or(is_meant);
            if !is_listed && may_be_meant && at >= from && (at < until || problem.manifest.is_none()) {
                passed.push((at, problem.words()));
            }
        }
        passed.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let passed_over: Vec<String> = passed.into_iter().map(|(_, words)| words).collect();
        let Some(dump) = good else {
            let report = passed_over.iter().fold(Report::refused(none_to_take(selector)), Report::cause);
            let oldest = self.dumps.iter().rfind(|dump| is_meant(&dump.manifest)).filter(|_| until < Timestamp::MAX);
            let report = oldest.into_iter().fold(report, |report, dump| report.cause(format!("the oldest is {}", in_words(dump))));
            return Err(report.hint("lifeboat dumps"));
        };
        let age = now.duration_since(dump.manifest.snapshot_at);
        if let Some(max_age) = max_age.filter(|max_age| age > *max_age) {
            let words = format!("the newest good dump, {}, is {age:#} old; at most {max_age:#} is allowed", dump.manifest.object);
            return Err(passed_over.iter().fold(Report::refused(words), Report::cause).hint("name the dump to take it all the same"));
        }
        Ok(Picked { dump, passed_over })
    }

    /// The dumps before this one that no proof speaks against, newest first.
    pub fn before<'a>(&'a self, dump: &'a Dump) -> impl Iterator<Item = &'a Manifest> {
        let earlier = |other: &&Dump| other.manifest.snapshot_at < dump.manifest.snapshot_at && other.disproven().is_none();
        self.dumps.iter().filter(earlier).map(|dump| &dump.manifest)
    }

    /// The databases that the dumps are of, by name.
    pub fn databases(&self) -> BTreeSet<&str> {
        self.dumps.iter().filter_map(|dump| dump.manifest.database()).collect()
    }

    /// The database that is meant; none where there is no dump of any. Only one that is the only one needs no saying.
    fn which<'a>(&'a self, wanted: Option<&'a str>) -> Result<Option<&'a str>> {
        let databases = self.databases();
        let names = || databases.iter().map(|name| show(name)).collect::<Vec<_>>().join(", ");
        match wanted {
            Some(wanted) if databases.is_empty() || databases.contains(wanted) => Ok(Some(wanted)),
            Some(wanted) => Err(Report::refused(format!("there is no dump of a database {}", show(wanted)))
                .hint(format!("there are dumps of: {}", names()))),
            None if databases.len() > 1 => Err(Report::refused(format!("there are dumps of several databases: {}", names()))
                .hint("say which with --database NAME (in a runbook: `database = \"NAME\"`), or name the dump")),
            None => Ok(databases.first().copied()),
        }
    }

    /// The members of a group that are not among the dumps: making them failed, or they are gone. A dump of a group that is not whole is
    /// still a good dump of its database; together they must not be restored.
    pub fn missing<'a>(&self, group: &'a Group) -> Vec<&'a Member> {
        group.members.iter().filter(|member| self.member(group, member).is_none()).collect()
    }

    fn member(&self, group: &Group, member: &Member) -> Option<&Dump> {
        self.dumps.iter().find(|dump| {
            let manifest = &dump.manifest;
            let agrees = manifest.object == member.object && manifest.database() == member.database.as_deref();
            agrees && manifest.group.as_ref() == Some(group)
        })
    }

    /// Only the dumps of one database, or only the globals, and what cannot be said to be of another.
    #[must_use]
    pub fn part(&self, database: Option<&str>) -> Listing {
        let is_of = |manifest: &Manifest| manifest.database() == database;
        Listing {
            dumps: self.dumps.iter().filter(|dump| is_of(&dump.manifest)).cloned().collect(),
            problems: self.problems.iter().filter(|problem| problem.manifest.as_ref().is_none_or(is_of)).cloned().collect(),
            bare: self.bare.clone(),
        }
    }

    /// Takes in what another job has, for answers that are of all of them. Order is no matter there.
    pub fn join(&mut self, other: Listing) {
        self.dumps.extend(other.dumps);
        self.problems.extend(other.problems);
        self.bare.extend(other.bare);
    }

    /// Every group that has a dump here, the newest first, each with its dumps in the order of its members (G11).
    pub fn groups(&self) -> Vec<Together<'_>> {
        let mut groups: Vec<Together<'_>> = Vec::new();
        for dump in &self.dumps {
            let Some(group) = &dump.manifest.group else { continue };
            if groups.iter().any(|known| known.group == group) {
                continue;
            }
            let dumps = group.members.iter().filter_map(|member| self.member(group, member)).collect();
            groups.push(Together { group, dumps, missing: self.missing(group) });
        }
        groups
    }

    fn named(&self, name: &str) -> Result<&Dump> {
        if let Some(dump) = self.dumps.iter().find(|dump| dump.manifest.object == name || dump.manifest.id == name) {
            return Ok(dump);
        }
        let is_it = |problem: &&Problem| problem.object == name || problem.manifest.as_ref().is_some_and(|manifest| manifest.id == name);
        if let Some(problem) = self.problems.iter().find(is_it) {
            return Err(problem.report.clone().hint("choose another dump: lifeboat dumps"));
        }
        Err(unknown(name, self.bare.contains(name), self.dumps.iter().map(|dump| dump.manifest.object.as_str())))
    }
}

impl Problem {
    /// Which object, and what is wrong with it, in one line that names it once.
    pub fn words(&self) -> String {
        let (object, words) = (show(&self.object), self.report.to_string());
        if words.contains(&object) { words } else { format!("{object}: {words}") }
    }
}

/// That nothing is there to be taken, of those that were asked for.
fn none_to_take(selector: &Selector) -> String {
    match selector {
        Selector::Before(instant) => format!("there is no dump of before {instant} to take"),
        _ => "there is no dump to take".into(),
    }
}

/// A name that is not there, with those most like it. An object of that name may be there all the same.
fn unknown<'a>(name: &str, is_there: bool, known: impl Iterator<Item = &'a str>) -> Report {
    let mut near: Vec<(f64, &str)> = known.map(|other| (strsim::jaro_winkler(name, other), other)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(a.1)));
    let near: Vec<String> = near.iter().take(5).map(|(_, other)| show(other)).collect();
    let mut report = Report::refused(format!("there is no dump called {}", show(name)));
    if is_there {
        report = report
            .cause("an object of that name is there, without a manifest: the backup that made it did not end, or its manifest was removed")
            .hint("lifeboat sweep");
    }
    if near.is_empty() {
        report.hint("the store holds no dump at all: lifeboat backup JOB makes one")
    } else {
        report.hint(format!("there are: {}", near.join(", ")))
    }
}

/// Something a sweep removed, or would remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Its key.
    pub key: String,
    /// Why it is nobody's.
    pub why: &'static str,
    /// Since when.
    pub since: Timestamp,
}

/// Finds what was left by backups that did not end: objects without a manifest, proofs without a dump, old epochs of leases, uploads never completed; all of them
/// older than `grace` (longer than any backup may take), and none whose key does not look like ours. Removes them only where `apply` is set.
pub fn sweep(store: &dyn Store, grace: SignedDuration, now: Timestamp, apply: bool, cx: &Context) -> Result<Vec<Swept>> {
    let objects = store.list("", cx)?;
    let dumps: BTreeSet<&str> = objects.iter().filter_map(|object| object.key.strip_suffix(MANIFEST_SUFFIX)).collect();
    let old = |since: Timestamp| now.duration_since(since) > grace;
    let mut swept = Vec::new();
    for object in objects.iter().filter(|object| old(object.modified)) {
        let (dump, why) = match object.key.split_once(PROOF_INFIX) {
            Some((dump, _)) => (dump, "a proof of a dump that is gone"),
            None => (object.key.as_str(), "an object without a manifest"),
        };
        if !is_ours(dump) || dumps.contains(dump) {
            continue;
        }
        // The manifest may have come since the listing.
        if apply && store.head(&format!("{dump}{MANIFEST_SUFFIX}"), cx)?.is_none() {
            store.delete(&object.key, cx)?;
        }
        swept.push(Swept { key: object.key.clone(), why, since: object.modified });
    }
    for (object, why) in lease::record::leftovers(&objects).into_iter().filter(|(object, _)| old(object.modified)) {
        if apply {
            store.delete(&object.key, cx)?;
        }
        swept.push(Swept { key: object.key.clone(), why, since: object.modified });
    }
    for upload in store.unfinished(cx)?.iter().filter(|upload| old(upload.since)) {
        let ours = is_ours(&upload.key) || upload.key.ends_with(MANIFEST_SUFFIX) || upload.key.contains(PROOF_INFIX);
        let ours = ours || upload.key.starts_with(lease::record::PREFIX);
        if !ours {
            continue;
        }
        if apply {
            store.abort(upload, cx)?;
        }
        swept.push(Swept { key: upload.key.clone(), why: "an upload that was never completed", since: upload.since });
    }
    Ok(swept)
}

/// Named as dumps are; what is not is never swept.
fn is_ours(key: &str) -> bool {
    ENDINGS.iter().any(|ending| key.ends_with(ending))
}
