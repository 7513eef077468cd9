//! The swap: a staged database takes the live one's name, the live one is kept under another; and back.
//!
//! Both renames are one transaction. `ALTER DATABASE … RENAME` locks the database first and then waits up to five seconds for its users to
//! leave; new sessions wait at that lock. So it is enough to send the users away, from a second connection, until the transaction is
//! through: nothing is switched off beforehand, and a crash at any point leaves either the old names or the new ones, both open.

use std::time::Duration;

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::databases::{check_name, comment};
use super::restore::{RESTORED, RESTORED_IN_PART, UNFINISHED};
use super::{Postgres, explain_sql};
use crate::port::Context;
use crate::report::{Report, Result};

/// How often the users of both databases are sent away while the renames wait.
const EVICT_EVERY: Duration = Duration::from_millis(50);

/// How often the renames are tried; each try waits five seconds itself.
const TRIES: u32 = 6;

/// How many databases are told of where one is not there.
const NAMED: usize = 20;

/// Which database takes whose name.
#[derive(Clone, Copy, Debug)]
pub struct Swap<'a> {
    /// The name users know.
    pub live: &'a str,
    /// The database that is to have it.
    pub staged: &'a str,
    /// The name the one that has it now gets.
    pub keep_as: &'a str,
    /// `staged` may have the rows of some tables only.
    pub partial: bool,
}

impl<'a> Swap<'a> {
    /// The one that takes a swap back: `kept` becomes `live` again, what is in its place goes back to `staged`. It was live before, whatever it is.
    pub fn back(live: &'a str, staged: &'a str, kept: &'a str) -> Self {
        Swap { live, staged: kept, keep_as: staged, partial: true }
    }

    /// Three names that PostgreSQL takes as they are, none of them twice.
    fn check(self, maintenance: &str) -> Result<()> {
        let names = [self.live, self.staged, self.keep_as];
        names.iter().try_for_each(|name| check_name(name))?;
        if let Some(twice) = names.iter().enumerate().find_map(|(at, name)| names[..at].contains(name).then_some(name)) {
            return Err(Report::usage(format!(
                "{twice:?} cannot be two of the three: the live database, the one that takes its name, what the old one is called then"
            ))
            .hint("lifeboat swap --help"));
        }
        if [self.live, self.staged].contains(&maintenance) {
            return Err(Report::refused(format!("database {maintenance:?} cannot be renamed: it is the one connected to meanwhile"))
                .hint("name another one that is always there, as `maintenance` of the system"));
        }
        Ok(())
    }
}

impl Postgres {
    /// Whether that swap could be made now: whatever would refuse it, as far as that can be known before.
    pub fn may_swap(&self, swap: Swap<'_>, cx: &Context) -> Result<()> {
        cx.wait(async { self.check_names(&self.connect(&self.settings.maintenance, cx).await?, swap).await })
    }

    /// Which dump a database says it was restored from; nothing where it does not say. Only some of it where `part`.
    pub fn origin(&self, database: &str, cx: &Context) -> Result<Option<Origin>> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            Ok(comment(&client, database).await?.and_then(|comment| Origin::read(&comment)))
        })
    }

    /// Renames `live` to `keep_as` and `staged` to `live`, with the live database's owner, grants and settings carried over to the new one.
    /// `comment` is left on the database that is kept.
    pub fn swap(&self, swap: Swap<'_>, comment: &str, cx: &Context) -> Result<()> {
        self.swap_and(swap, comment, "", cx)
    }

    /// The same, with `also` done in the same transaction while the staged database still bears its own name: what it is to have besides what
    /// the live one had.
    pub fn swap_and(&self, swap: Swap<'_>, comment: &str, also: &str, cx: &Context) -> Result<()> {
        cx.wait(async {
            let mut client = self.connect(&self.settings.maintenance, cx).await?;
            self.check_names(&client, swap).await?;
            let carry = carried(&client, swap).await? + also;
            let evictor = self.connect(&self.settings.maintenance, cx).await?;
            for try_ in 1..=TRIES {
                let renamed = tokio::select! {
                    renamed = rename(&mut client, swap, &carry, comment) => renamed,
                    evicted = evict(&evictor, swap) => evicted.map(|never| match never {}),
                };
                match renamed {
                    Ok(()) => return Ok(()),
                    Err(error) if try_ < TRIES && error.message.contains("being accessed by other users") => {}
                    Err(error) => {
                        return Err(error.under(format!("swapping {:?} for {:?} on {}", swap.live, swap.staged, self.describe())));
                    }
                }
            }
            Err(Report::failed(format!("the users of {:?} could not be sent away", swap.live)))
        })
    }

    async fn check_names(&self, client: &Client, swap: Swap<'_>) -> Result<()> {
        swap.check(&self.settings.maintenance)?;
        let query =
            "SELECT datname::text, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE NOT datistemplate ORDER BY 1";
        let rows = client.query(query, &[]).await.map_err(|error| explain_sql(&error, ""))?;
        let comment_of = |name: &str| rows.iter().find(|row| row.get::<_, &str>(0) == name).map(|row| row.get::<_, &str>(1));
        for name in [swap.live, swap.staged] {
            if comment_of(name).is_none() {
                let names: Vec<&str> = rows.iter().map(|row| row.get(0)).take(NAMED).collect();
                return Err(Report::refused(format!("there is no database {name:?} on {}", self.describe()))
                    .hint(format!("there are: {}", names.join(", "))));
            }
        }
        if comment_of(swap.keep_as).is_some() {
            return Err(Report::refused(format!("the name {:?} is taken on {}", swap.keep_as, self.describe()))
                .hint("give the one that makes room a name that nobody has; `lifeboat kept` lists what earlier swaps kept"));
        }
        if comment_of(swap.staged).is_some_and(|comment| comment.starts_with(UNFINISHED)) {
            return Err(Report::refused(format!("database {:?} was not restored to the end", swap.staged))
                .hint("wait for its restore, or restore again: lifeboat runs"));
        }
        if !swap.partial && comment_of(swap.staged).is_some_and(|comment| comment.starts_with(RESTORED_IN_PART)) {
            let words = format!("database {:?} has the rows of some tables only: whoever uses it would miss the others", swap.staged);
            return Err(Report::refused(words).hint("--partial swaps it all the same (in a runbook: `partial = true`)"));
        }
        Ok(())
    }
}

/// What a restored database says it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The dump.
    pub dump: String,
    /// Only the rows of some tables.
    pub part: bool,
}

impl Origin {
    fn read(comment: &str) -> Option<Origin> {
        let (rest, part) = match comment.strip_prefix(RESTORED_IN_PART) {
            Some(rest) => (rest, true),
            None => (comment.strip_prefix(RESTORED)?, false),
        };
        let (dump, _) = rest.strip_prefix(" from ")?.rsplit_once(" at ")?;
        Some(Origin { dump: dump.to_owned(), part })
    }
}

/// What belongs to a database but does not travel with a rename: owner, connection limit, grants, settings, comment; as statements on the staged one.
async fn carried(client: &Client, swap: Swap<'_>) -> Result<String> {
    let query = "
        WITH live AS (SELECT * FROM pg_database WHERE datname = $1)
        SELECT format('ALTER DATABASE %I OWNER TO %I', $2::text, pg_get_userbyid(datdba)) FROM live
        UNION ALL SELECT format('ALTER DATABASE %I CONNECTION LIMIT %s', $2::text, datconnlimit) FROM live
        UNION ALL SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', $2::text) FROM live
        -- What was recorded of the dump's own database and given to the staged one gives way: people know the live one.
        UNION ALL SELECT DISTINCT format('REVOKE ALL ON DATABASE %I FROM %I CASCADE', $2::text, pg_get_userbyid(grantee))
          FROM pg_database, aclexplode(datacl) WHERE datname = $2 AND grantee <> 0
        UNION ALL SELECT format('GRANT %s ON DATABASE %I TO %s%s', privilege_type, $2::text,
                                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                                CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
          FROM live, aclexplode(coalesce(datacl, acldefault('d', datdba)))
        UNION ALL SELECT format('ALTER DATABASE %I RESET ALL', $2::text) FROM live
        UNION ALL SELECT format('ALTER ROLE %I IN DATABASE %I RESET ALL', pg_get_userbyid(setrole), $2::text)
          FROM pg_database staged JOIN pg_db_role_setting ON setdatabase = staged.oid WHERE datname = $2 AND setrole <> 0
        -- What people wrote of the live one; never a mark of ours, by which the new one would be taken for a staged or kept one.
        UNION ALL SELECT format('COMMENT ON DATABASE %I IS %s', $2::text,
                                coalesce((SELECT quote_literal(words) FROM shobj_description(oid, 'pg_database') AS words
                                          WHERE NOT starts_with(words, $3)), 'NULL')) FROM live
        UNION ALL SELECT CASE setrole WHEN 0 THEN format('ALTER DATABASE %I SET %I TO %s', $2::text, name, setting)
                                      ELSE format('ALTER ROLE %I IN DATABASE %I SET %I TO %s', pg_get_userbyid(setrole), $2::text, name, setting) END
          FROM live JOIN pg_db_role_setting ON setdatabase = live.oid, unnest(setconfig) AS entry,
               LATERAL (SELECT split_part(entry, '=', 1) AS name, substr(entry, strpos(entry, '=') + 1) AS value) AS parts,
               -- A list setting is stored as a list of quoted names and must not be quoted as one value again.
               LATERAL (SELECT CASE WHEN name IN ('search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries')
                                    THEN value ELSE quote_literal(value) END AS setting) AS quoted
          -- What we noted of the live one is not true of the new one.
          WHERE NOT starts_with(name, 'lifeboat.')";
    let rows =
        client.query(query, &[&swap.live, &swap.staged, &super::databases::MARK]).await.map_err(|error| explain_sql(&error, swap.live))?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0) + ";\n").collect())
}

async fn rename(client: &mut Client, swap: Swap<'_>, carry: &str, comment: &str) -> Result<()> {
    let explain = |error| explain_sql(&error, swap.live);
    let transaction = client.transaction().await.map_err(explain)?;
    let [live, staged, keep_as] = [swap.live, swap.staged, swap.keep_as].map(escape_identifier);
    let renames = format!(
        "ALTER DATABASE {live} RENAME TO {keep_as};\n{carry}ALTER DATABASE {staged} RENAME TO {live};\n\
         COMMENT ON DATABASE {keep_as} IS {};",
        escape_literal(comment)
    );
    transaction.batch_execute(&renames).await.map_err(explain)?;
    transaction.commit().await.map_err(explain)
}

/// Sends the users of both databases away, again and again; only ever ends with an error.
async fn evict(client: &Client, swap: Swap<'_>) -> Result<std::convert::Infallible> {
    let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid()";
    loop {
        match client.execute(query, &[&vec![swap.live, swap.staged]]).await {
            Err(error) if error.code() != Some(&SqlState::UNDEFINED_OBJECT) => return Err(explain_sql(&error, swap.live)),
            _ => tokio::time::sleep(EVICT_EVERY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_database_says_of_which_dump_it_is() {
        let origin = |comment| Origin::read(comment).map(|origin| (origin.dump, origin.part));
        assert_eq!(origin("lifeboat: restored from a at b.gpg at 2026-11-21T03:00:00Z"), Some(("a at b.gpg".into(), false)));
        let part = "lifeboat: restored in part from a.gpg at 2026-11-21T03:00:00Z: the rows of 1 of 2 tables, without 0 foreign keys";
        assert_eq!(origin(part), Some(("a.gpg".into(), true)));
        for other in ["", "lifeboat: being restored from a since b", "restored from a at b", "lifeboat: kept {}"] {
            assert_eq!(origin(other), None, "{other}");
        }
    }
}
