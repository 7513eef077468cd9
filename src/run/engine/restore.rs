//! Restoring a dump, or the rows of some of its tables, and looking whether all of it is there.

use std::collections::BTreeSet;

use super::compare::same_rows;
use super::{Engine, Outputs, dump_outputs};
use crate::pipeline::archive::{Archive, rights_last};
use crate::pipeline::chosen::Chosen;
use crate::pipeline::inspect::{self, custom, plain};
use crate::pipeline::manifest::{Format, Level, Manifest};
use crate::pipeline::openpgp::SecretKey;
use crate::pipeline::{peek, restore, verify};
use crate::port::{Context, Store, Stream};
use crate::report::{Kind, Report, Result};
use crate::run::hands::Seen;
use crate::system::postgres::Postgres;
use crate::system::postgres::access::Missing;
use crate::system::postgres::count::{Count, parse_name};
use crate::system::postgres::databases::{is_pattern, means};
use crate::system::postgres::restore::{Contents, Examine, Part, Prepare, Target};

/// How many tables a wrong name is told of.
const NEAR: usize = 5;

/// How a dump is restored, where that is not the whole of it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// The tables whose rows come back, names and patterns; all of them where none is said.
    pub tables: Vec<String>,
    /// Roles that the dump names and the server has not are made, without a right to log in.
    pub create_roles: bool,
    /// Every row is read back and held against the dump before the database bears its mark.
    pub compare: bool,
}

impl Engine {
    /// Restores a dump into a new database.
    pub fn restore(&self, job: &str, dump: &str, into: &str, cx: &Context) -> Result<Outputs> {
        self.restore_some(job, dump, into, &How::default(), cx)
    }

    /// Restores a dump, or some of it, into a new database.
    pub(super) fn restore_some(&self, job: &str, dump: &str, into: &str, how: &How, cx: &Context) -> Result<Outputs> {
        let job = self.inventory.job(job)?;
        let postgres = self.guarded(&job.system, cx)?;
        let store = self.store(job, cx)?;
        let manifest = self.dump(&job.name, dump, cx)?.manifest;
        for swept in postgres.sweep_unfinished(cx)? {
            cx.log.say("restore", &format!("dropped {swept}, left behind by a restore that was killed"));
        }
        fill(&postgres, &manifest, &*store, || self.secret_key(job, cx), into, how, cx)?;
        outputs(&manifest, into, &how.tables)
    }

    /// Whether the server of a job has a database of that name.
    pub fn has_database(&self, job: &str, database: &str, cx: &Context) -> Result<bool> {
        self.postgres(&self.inventory.job(job)?.system)?.has_database(database, cx)
    }

    pub(super) fn restored(&self, job: &str, dump: &str, database: &str, tables: &[String], cx: &Context) -> Result<Seen> {
        let job = self.inventory.job(job)?;
        let postgres = self.postgres(&job.system)?;
        if !postgres.has_database(database, cx)? {
            return Ok(Seen::new(false, format!("there is no database {database}")));
        }
        // As many rows as the dump has any database may have, the one the dump was made of above all. The mark is there once all is.
        let left_out = if tables.is_empty() {
            postgres.is_restored_from(dump, database, cx)?.then_some(0)
        } else {
            postgres.restored_in_part(dump, database, cx)?
        };
        let Some(left_out) = left_out else {
            let words = if tables.is_empty() { "to the end" } else { "in part, to the end" };
            return Ok(Seen::new(false, format!("{database} was not restored from {dump} {words}")));
        };
        let manifest = self.dump(&job.name, dump, cx)?.manifest;
        let all = manifest.tables.len();
        let (expected, what) = if tables.is_empty() {
            (manifest, format!("{all} tables"))
        } else {
            let chosen = choose(&manifest, tables)?;
            (
                part_of(&manifest, &chosen, left_out),
                format!("the rows of {} of {all} tables, without {left_out} foreign keys", chosen.len()),
            )
        };
        let differences = differences(&expected, &postgres.count(database, cx)?);
        Ok(match differences.as_slice() {
            [] => Seen::new(
                true,
                format!(
                    "{what}, {} rows, {} constraints, {} indexes, as in the dump",
                    expected.rows(),
                    expected.schema.constraints,
                    expected.schema.indexes
                ),
            ),
            some => Seen::new(false, some.join("; ")),
        })
    }
}

/// Restores a dump into a new database of any server, whatever job it is of. `key` is asked for when everything else is known to fit.
pub(super) fn fill(
    postgres: &Postgres,
    manifest: &Manifest,
    store: &dyn Store,
    key: impl FnOnce() -> Result<SecretKey>,
    into: &str,
    how: &How,
    cx: &Context,
) -> Result<()> {
    if manifest.format == Format::Globals {
        return Err(Report::refused(format!("{} holds the roles and tablespaces of a server, not a database", manifest.object))
            .hint(format!("lifeboat restore {} --roles", shell_words::quote(&manifest.object)))
            .hint(format!("read it, then feed what else you want of it to psql: gpg -d {} | gunzip | less", manifest.object)));
    }
    choose(manifest, &how.tables)?;
    // The settings are sealed: who needs what is known without them.
    let in_clear = manifest.access.as_ref().map(crate::pipeline::access::Recorded::in_clear);
    postgres.can_restore(Target { access: in_clear.as_ref(), ..target(manifest, into, how) }, cx)?;
    let key = key()?;
    let opened = restore::open_counted(manifest, store, &key, cx)?;
    pour(postgres, manifest, &key, opened, into, how, None, cx).map_err(|error| blame(error, manifest, store, cx))
}

/// The same of bytes that were opened already; behind closed doors where something has to be prepared before anybody may see it.
#[expect(clippy::too_many_arguments, reason = "what goes where, in which way")]
pub(super) fn pour(
    postgres: &Postgres,
    manifest: &Manifest,
    key: &SecretKey,
    (stream, contents): (Stream, inspect::Seen),
    into: &str,
    how: &How,
    prepare: Option<Prepare<'_>>,
    cx: &Context,
) -> Result<()> {
    let chosen = choose(manifest, &how.tables)?;
    let access = manifest.access.as_ref().map(|access| access.open(key, cx)).transpose()?;
    let wanted = |table: &str| chosen.is_empty() || chosen.contains(table);
    let compare = |cx: &Context| same_rows(postgres, manifest, &contents, &wanted, into, cx);
    let compare: Option<Examine<'_>> = if how.compare { Some(&compare) } else { None };
    let target = Target { access: access.as_ref(), examine: compare, ..target(manifest, into, how) };
    let chosen = (!how.tables.is_empty()).then(|| (Chosen::new(chosen.iter().copied(), &manifest.tables), chosen.len()));
    load(postgres, target, manifest, chosen, stream, prepare, cx)
}

pub(super) fn target<'a>(manifest: &'a Manifest, into: &'a str, how: &How) -> Target<'a> {
    Target {
        into,
        dump: &manifest.object,
        client_major: major(&manifest.origin.client_version),
        server_major: major(&manifest.origin.server_version),
        missing: if how.create_roles { Missing::Created } else { Missing::Refused },
        ..Target::default()
    }
}

fn load(
    postgres: &Postgres,
    target: Target<'_>,
    manifest: &Manifest,
    chosen: Option<(Chosen, usize)>,
    stream: Stream,
    prepare: Option<Prepare<'_>>,
    cx: &Context,
) -> Result<()> {
    let left_out = chosen.as_ref().map(|(chosen, _)| chosen.left_out()).unwrap_or_default();
    let part = chosen.as_ref().map(|(_, tables)| Part { tables: *tables, of: manifest.tables.len(), left_out: left_out.count() });
    let target = Target { part, ..target };
    let chosen = chosen.map(|(chosen, _)| chosen);
    if manifest.format == Format::Custom {
        archive(postgres, target, chosen, Archive::open(stream)?, prepare, cx)?;
    } else {
        postgres.restore(target, |rows| plain::thin::thinned(stream, chosen, Some(rows)), prepare, cx)?;
    }
    for words in left_out.words() {
        cx.log.say("restore", &format!("without the foreign key {words}: not all of its rows are here"));
    }
    Ok(())
}

/// An archive goes in section by section; where it has rights, they come last.
fn archive(
    postgres: &Postgres,
    target: Target<'_>,
    chosen: Option<Chosen>,
    archive: Archive,
    prepare: Option<Prepare<'_>>,
    cx: &Context,
) -> Result<()> {
    let Archive { contents: file, mut entries, stream } = archive;
    let (thins, mut unwanted) = (chosen.is_some(), BTreeSet::new());
    if let Some(chosen) = chosen {
        let picked = chosen.archive(&entries);
        let stays: BTreeSet<i64> = picked.entries.into_iter().collect();
        entries.retain(|entry| stays.contains(&entry.id));
        unwanted = picked.unwanted;
    }
    let (first, last) = match target.access {
        Some(_) => rights_last(&entries),
        None => (entries.iter().map(|entry| entry.id).collect(), Vec::new()),
    };
    let with_rows: BTreeSet<i64> = entries.iter().filter(|entry| entry.table.is_some()).map(|entry| entry.id).collect();
    let others: Vec<i64> = first.iter().copied().filter(|id| !with_rows.contains(id)).collect();
    let wanted = (thins || !last.is_empty()).then_some(first.as_slice());
    let contents = Contents { file: &file, wanted, others: &others, last: &last };
    postgres.restore(Target { contents: Some(contents), ..target }, |rows| custom::thin::thinned(stream, unwanted, Some(rows)), prepare, cx)
}

/// The tables of a dump that are meant, as its manifest writes them. What means none is refused with those most like it.
fn choose<'a>(manifest: &'a Manifest, wanted: &[String]) -> Result<BTreeSet<&'a str>> {
    let plain = |table: &str| parse_name(table).map_or_else(|| table.to_owned(), |(schema, table)| format!("{schema}.{table}"));
    let mut chosen = BTreeSet::new();
    for text in wanted {
        let meant = manifest.tables.keys().filter(|table| means(text, table) || means(text, &plain(table)));
        let meant: Vec<&str> = meant.map(String::as_str).collect();
        if meant.is_empty() && is_pattern(text) {
            return Err(none_like(manifest, text));
        }
        // A name without its schema means what it means to `peek`.
        let bare = if meant.is_empty() { Some(peek::table(manifest, text)?) } else { None };
        chosen.extend(meant.into_iter().chain(bare));
    }
    Ok(chosen)
}

fn none_like(manifest: &Manifest, text: &str) -> Report {
    let show = |text: &str| text.chars().filter(|c| !c.is_control()).take(140).collect::<String>();
    // Those that only lack their schema are the likeliest.
    let likeness = |table: &str| {
        let own = table.rsplit('.').next().unwrap_or(table);
        strsim::jaro_winkler(text, table).max(strsim::jaro_winkler(text, own))
    };
    let mut near: Vec<(f64, &str)> = manifest.tables.keys().map(|table| (likeness(table), table.as_str())).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let near: Vec<String> = near.iter().take(NEAR).map(|(_, table)| show(table)).collect();
    Report::refused(format!("no table is called like {} in {}", show(text), manifest.object))
        .hint(format!("there are: {}", near.join(", ")))
}

/// What a database holds that has the rows of some tables only.
fn part_of(manifest: &Manifest, chosen: &BTreeSet<&str>, left_out: u64) -> Manifest {
    let mut part = manifest.clone();
    for (table, count) in &mut part.tables {
        if !chosen.contains(table.as_str()) {
            count.rows = 0;
        }
    }
    part.schema.constraints = part.schema.constraints.saturating_sub(left_out);
    part
}

/// What a restore gives.
pub(super) fn outputs(manifest: &Manifest, into: &str, tables: &[String]) -> Result<Outputs> {
    let part = if tables.is_empty() { None } else { Some(part_of(manifest, &choose(manifest, tables)?, 0)) };
    let mut outputs = dump_outputs(part.as_ref().unwrap_or(manifest));
    outputs.insert("database".into(), into.to_owned());
    Ok(outputs)
}

/// What differs between a dump's manifest and a database restored from it; empty where nothing does.
pub fn differences(manifest: &Manifest, count: &Count) -> Vec<String> {
    let mut found = Vec::new();
    for (name, expected) in &manifest.tables {
        let known = parse_name(name);
        let seen = known.as_ref().and_then(|name| count.tables.get(name));
        let brought = known.as_ref().and_then(|name| count.of_extensions.get(name));
        match seen.or(brought) {
            Some(rows) if *rows == expected.rows => {}
            // The extension brings rows of its own.
            Some(rows) if seen.is_none() && *rows > expected.rows => {}
            Some(rows) => found.push(format!("{name} has {rows} rows, the dump {}", expected.rows)),
            None => found.push(format!("{name} is missing")),
        }
    }
    let schema = &manifest.schema;
    let numbers = [
        ("constraints", schema.constraints, count.constraints),
        ("indexes", schema.indexes, count.indexes),
        ("views", schema.views, count.views),
        ("sequences", schema.sequences, count.sequences),
        ("triggers", schema.triggers, count.triggers),
        ("large objects", schema.large_objects, count.large_objects),
    ];
    let unequal = numbers.iter().filter(|(_, expected, seen)| expected != seen);
    found.extend(unequal.map(|(what, expected, seen)| format!("{seen} {what}, the dump {expected}")));
    found
}

/// A damaged dump reaches the server before anybody has seen its end, and then the server's words are about some odd row. So when a restore
/// breaks, the stored bytes are looked at: where they are not what was stored, that is what is told.
pub(super) fn blame(error: Report, manifest: &Manifest, store: &dyn Store, cx: &Context) -> Report {
    let disproven = verify::verify(manifest, store, None, Level::L1, cx).and_then(|proof| verify::demand(&proof, manifest)).err();
    match disproven {
        Some(report) if report.kind == Kind::Refused => error.causes.iter().fold(report.cause(error.message), Report::cause),
        // They are, or that cannot be told now.
        _ => error,
    }
}

/// `15.18` → 15; 0 where there is none, which fits every server.
pub(super) fn major(version: &str) -> u32 {
    version.split(|c: char| !c.is_ascii_digit()).next().and_then(|major| major.parse().ok()).unwrap_or_default()
}
