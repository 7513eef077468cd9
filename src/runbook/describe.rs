//! Says what an action or a check is in words one can paste into a shell, for the screen, the plain mode, the journal and paper.
//!
//! Systems are named as libpq services: `psql service=orders` works wherever `pg_service.conf` has an entry of that name.

use jiff::SignedDuration;

use super::plan::{Action, Check, Expect, Probe, Request, Work};

/// The exact commands of an action, one to a line; sentences begin with `#`.
pub fn action(action: &Action) -> Vec<String> {
    match action {
        Action::Manual { checklist, ask } => {
            let ticks = checklist.iter().map(|line| format!("# [ ] {line}"));
            ticks.chain(ask.iter().map(|field| format!("# {}: ______", field.label))).collect()
        }
        Action::Command { argv } => vec![shell_words::join(argv)],
        Action::Sql { system, database, statements } => sql(system, database.as_deref(), statements, "--single-transaction "),
        Action::Http { request, poll, .. } => {
            let mut lines = curl(request);
            if let Some(poll) = poll {
                let over = all_of(&poll.until);
                let fail = if poll.fail.is_empty() { String::new() } else { format!("; it failed when {}", any_of(&poll.fail)) };
                lines.push(format!("# ask every {} until {over}{fail}:", duration(poll.every)));
                lines.push(format!("curl -fsS {}", quoted(&poll.url)));
            }
            lines
        }
        Action::Job(job) => work(job),
        Action::Wait { time, until } => match (time, until) {
            (_, Some(until)) => vec![format!("# wait until: {}", check(until))],
            (Some(time), None) => vec![format!("sleep {}", time.as_secs())],
            (None, None) => Vec::new(),
        },
        Action::Notify { channel, message } => vec![format!("# tell {channel}: {}", message.trim())],
    }
}

/// What an action does, in a line: for lists and the journal.
pub fn headline(action: &Action) -> String {
    let lines = self::action(action);
    let first = lines.first().map_or("", |line| line.trim_start_matches("# "));
    if lines.len() > 1 { format!("{first} …") } else { first.to_owned() }
}

fn work(work: &Work) -> Vec<String> {
    let line = match work {
        Work::Backup { job } => format!("lifeboat backup {}", quoted(job)),
        Work::Pick { job, dump, database } => {
            let of = database.as_ref().map_or_else(String::new, |database| format!(" of {database}"));
            return vec![format!("lifeboat dumps {}", quoted(job)), format!("# choose: {dump}{of}")];
        }
        Work::Verify { dump, level, .. } => format!("lifeboat verify {} --level L{level}", quoted(dump)),
        Work::Restore { dump, into, tables, create_roles, compare, .. } => {
            let tables = tables.iter().map(|table| format!(" --table {}", quoted(table))).collect::<Vec<_>>().concat();
            let more = switches(*create_roles, *compare);
            format!("lifeboat restore {} --into {}{tables}{more}", quoted(dump), quoted(into))
        }
        Work::RestoreGroup { group, prefix, suffix, create_roles, compare, .. } => {
            let more = switches(*create_roles, *compare);
            format!("lifeboat restore {} --group --prefix {} --suffix {}{more}", quoted(group), quoted(prefix), quoted(suffix))
        }
        Work::RestoreRoles { dump, .. } => format!("lifeboat restore {} --roles", quoted(dump)),
        Work::Swap { system, live, staged, keep_as, keep_until, partial } => {
            let until = keep_until.as_ref().map_or_else(String::new, |until| format!(" --keep-until {}", quoted(until)));
            let partial = if *partial { " --partial" } else { "" };
            format!("lifeboat swap {} {} {} --keep-as {}{until}{partial}", quoted(system), quoted(live), quoted(staged), quoted(keep_as))
        }
        Work::DropKept { system, database, early } => {
            let early = if *early { " --early" } else { "" };
            format!("lifeboat kept drop {} --system {}{early}", quoted(database), quoted(system))
        }
        Work::Pull { pull, dump, again } => {
            let dump = if dump == "latest" { String::new() } else { format!(" --dump {}", quoted(dump)) };
            format!("lifeboat pull {}{dump}{}", quoted(pull), if *again { " --again" } else { "" })
        }
        Work::Unswap { system, live, staged, kept } => {
            format!("lifeboat unswap {} {} {} --kept {}", quoted(system), quoted(live), quoted(staged), quoted(kept))
        }
    };
    vec![line]
}

fn switches(create_roles: bool, compare: bool) -> String {
    [(create_roles, " --create-roles"), (compare, " --compare")].iter().filter(|(on, _)| *on).map(|(_, words)| *words).collect()
}

/// The same with nothing but stock tools, where lifeboat itself is what is broken. Empty where the action needs none.
pub fn by_hand(action: &Action) -> Vec<String> {
    let Action::Job(work) = action else { return Vec::new() };
    match work {
        Work::Backup { .. } | Work::Pick { .. } | Work::RestoreGroup { .. } => Vec::new(),
        Work::RestoreRoles { dump, .. } => vec![format!("gpg -d {} | gunzip | less   # and what of it is wanted, to psql", quoted(dump))],
        Work::Verify { dump, .. } => vec![
            "set -o pipefail".to_owned(),
            format!("gpg -d {} | gunzip | tail -n 5   # must say: PostgreSQL database dump complete", quoted(dump)),
        ],
        Work::Restore { dump, into, tables, .. } => {
            let all = (!tables.is_empty()).then(|| format!("# every row comes back by hand; wanted are those of {}", tables.join(", ")));
            let lines = [
                "set -o pipefail".to_owned(),
                format!("createdb --template=template0 {}", quoted(into)),
                format!("gpg -d {} | gunzip | psql -X -v ON_ERROR_STOP=1 -d {}", quoted(dump), quoted(into)),
                format!("# a .dump instead of a .sql: … | gunzip | pg_restore --exit-on-error --no-owner -d {}", quoted(into)),
                format!("vacuumdb --analyze-only {}", quoted(into)),
            ];
            all.into_iter().chain(lines).collect()
        }
        Work::Swap { live, staged, keep_as, .. } => exchange(live, staged, keep_as),
        Work::Pull { pull, dump, .. } => vec![
            format!("# [pull.{pull}] in the configuration says what, where and how; never sanitise after the swap:"),
            "set -o pipefail".to_owned(),
            "createdb --template=template0 STAGED; psql -X -c 'ALTER DATABASE \"STAGED\" CONNECTION LIMIT 0'".to_owned(),
            format!("gpg -d {} | gunzip | psql -X -v ON_ERROR_STOP=1 -d STAGED", quoted(dump)),
            "psql -X -1 -v ON_ERROR_STOP=1 -d STAGED -f TRANSFORM.sql    # each file, then the assertions: no row".to_owned(),
            "psql -X -d STAGED -c 'DELETE FROM pg_statistic' -c 'VACUUM ANALYZE'".to_owned(),
            "# then the two renames of a swap".to_owned(),
        ],
        Work::Unswap { live, staged, kept, .. } => exchange(live, kept, staged),
        Work::DropKept { database, .. } => vec![format!("dropdb {}", quoted(database))],
    }
}

/// `live` steps aside under the name `aside`, `next` takes its place: connections blocked, both renames in one transaction.
fn exchange(live: &str, next: &str, aside: &str) -> Vec<String> {
    let name = |name: &str| if name.contains("{{") { format!("\"{name}\"") } else { postgres_protocol::escape::escape_identifier(name) };
    let text = |name: &str| if name.contains("{{") { format!("'{name}'") } else { postgres_protocol::escape::escape_literal(name) };
    vec![
        "psql -X -v ON_ERROR_STOP=1 -d postgres <<'SQL'".to_owned(),
        format!("ALTER DATABASE {} ALLOW_CONNECTIONS false;", name(live)),
        format!("ALTER DATABASE {} ALLOW_CONNECTIONS false;", name(next)),
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ({}, {});", text(live), text(next)),
        "BEGIN;".to_owned(),
        format!("ALTER DATABASE {} RENAME TO {};", name(live), name(aside)),
        format!("ALTER DATABASE {} RENAME TO {};", name(next), name(live)),
        "COMMIT;".to_owned(),
        format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", name(live)),
        "SQL".to_owned(),
    ]
}

/// A check in a line: what is asked and what must come back.
pub fn check(check: &Check) -> String {
    let within = check.within.map(|within| format!(", within {}", duration(within))).unwrap_or_default();
    match expected(&check.probe) {
        Some(expected) => format!("{} → {expected}{within}", question(&check.probe)),
        None => format!("{}{within}", question(&check.probe)),
    }
}

/// What a check asks, as a command; in words where no single command would do.
pub fn question(probe: &Probe) -> String {
    match probe {
        Probe::Http { request, .. } => curl(request).join(" "),
        Probe::Sql { system, database, query, .. } => sql(system, database.as_deref(), &in_a_line(query), "-At ").join(" "),
        Probe::Command { argv, .. } => shell_words::join(argv),
        Probe::Restored { dump, database, tables, .. } if !tables.is_empty() => {
            format!("rows of {} in {database} as in the manifest of {dump}, the other tables empty", tables.join(", "))
        }
        Probe::Restored { dump, database, .. } => format!("rows, constraints and indexes of {database} as in the manifest of {dump}"),
        Probe::Pulled { pull, dump, .. } => {
            format!("the live database of pull {pull} says by SHOW lifeboat.pulled that it was made of {dump}")
        }
        Probe::Proof { dump, level, .. } => format!("lifeboat verify {} --level L{level}", quoted(dump)),
    }
}

/// A query in one line: comments go, since they would take the rest along.
fn in_a_line(query: &str) -> String {
    let comment = |line: &str| line.match_indices("--").map(|(at, _)| at).find(|at| line[..*at].matches('\'').count().is_multiple_of(2));
    let lines = query.lines().map(|line| comment(line).map_or(line, |at| &line[..at]));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// The title of a check that has none.
pub fn probe(probe: &Probe) -> String {
    let what = match probe {
        Probe::Http { request, .. } => format!("{} {}", request.method, request.url),
        Probe::Sql { query, .. } => in_a_line(query),
        Probe::Command { argv, .. } => shell_words::join(argv),
        Probe::Restored { dump, database, tables, .. } if !tables.is_empty() => {
            return format!("{database} holds {} of {dump}", tables.join(", "));
        }
        Probe::Restored { dump, database, .. } => return format!("{database} holds all of {dump}"),
        Probe::Pulled { pull, dump, .. } => return format!("{pull} is live, made of {dump}"),
        Probe::Proof { dump, level, .. } => return format!("{dump} is proven to L{level}"),
    };
    match expected(probe) {
        Some(expected) => format!("{what} → {expected}"),
        None => what,
    }
}

/// What must come back, where that can be said apart from the question.
pub fn expected(probe: &Probe) -> Option<String> {
    match probe {
        Probe::Http { request, contains, expect } => {
            let status = request.status.clone().unwrap_or_else(|| "2xx".to_owned());
            let text = contains.iter().map(|text| format!("contains `{text}`"));
            let holds = (!expect.is_empty()).then(|| all_of(expect));
            Some([status].into_iter().chain(text).chain(holds).collect::<Vec<_>>().join(", "))
        }
        Probe::Sql { equals, .. } => Some(equals.clone()),
        Probe::Command { equals, .. } => equals.clone(),
        Probe::Restored { .. } | Probe::Pulled { .. } | Probe::Proof { .. } => None,
    }
}

fn curl(request: &Request) -> Vec<String> {
    let method = if request.method == "GET" { String::new() } else { format!("-X {} ", request.method) };
    let body = request.body.as_ref().map(|body| format!("-H 'Content-Type: application/json' -d {} ", quoted(body))).unwrap_or_default();
    let fail = if request.status.is_none() { "-fsS" } else { "-sS -i" };
    vec![format!("curl {fail} {method}{body}{}", quoted(&request.url))]
}

fn sql(system: &str, database: Option<&str>, statements: &str, options: &str) -> Vec<String> {
    let target = match database {
        Some(database) => format!("service={system} dbname={database}"),
        None => format!("service={system}"),
    };
    let statements = statements.trim();
    let psql = format!("psql {} -X -v ON_ERROR_STOP=1 {options}", quoted(&target));
    if statements.contains('\n') {
        let mut lines = vec![format!("{psql}<<'SQL'")];
        lines.extend(statements.lines().map(str::to_owned));
        lines.push("SQL".to_owned());
        return lines;
    }
    vec![format!("{psql}-c {}", quoted(statements))]
}

/// For a shell; what is still a template stays readable.
fn quoted(word: &str) -> String {
    match word {
        _ if word.contains('\'') && !word.contains(['"', '$', '`', '\\', '!']) => format!("\"{word}\""),
        _ if word.contains("{{") && !word.contains('\'') => format!("'{word}'"),
        _ => shell_words::quote(word).into_owned(),
    }
}

fn all_of(expects: &[Expect]) -> String {
    expects.iter().map(holds).collect::<Vec<_>>().join(" and ")
}

fn any_of(expects: &[Expect]) -> String {
    expects.iter().map(holds).collect::<Vec<_>>().join(" or ")
}

fn holds(expect: &Expect) -> String {
    format!("{} = {}", expect.pointer, expect.equals)
}

/// `2h 30m`, as it is written in a runbook.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds % 3600 / 60, "m"), (seconds % 60, "s")];
    let words: Vec<String> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if words.is_empty() { format!("{}ms", duration.as_millis()) } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_asked_in_one_line_that_can_be_typed() {
        let query = "SELECT count(*) -- all of them\n  FROM orders\n  WHERE note <> 'a--b'";
        let probe = Probe::Sql { system: "orders".into(), database: None, query: query.into(), equals: "3".into() };
        assert_eq!(
            question(&probe),
            r#"psql 'service=orders' -X -v ON_ERROR_STOP=1 -At -c "SELECT count(*) FROM orders WHERE note <> 'a--b'""#
        );
    }
}
