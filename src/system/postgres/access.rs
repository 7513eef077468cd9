//! Who may do what with a database: asked where it is dumped, given back where it is restored.
//!
//! What comes from a manifest is text that anybody may have written: every name and value is quoted, every privilege is one of three words.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio_postgres::Client;

use super::snapshot::Snapshot;
use super::{Postgres, explain_sql};
use crate::port::Context;
use crate::port::access::Access;
use crate::report::{Explain, Report, Result};

/// One `jsonb` in the shape of [`Access`]. The roles are those that the server itself says objects of this database depend on. It does not say
/// so of the superuser it was made with, who is looked for in the owners of the usual kinds of objects. What belongs to an extension is made
/// by it and not by the dump; roles called `pg_…` are on every server.
const ACCESS: &str = "SELECT jsonb_build_object(
    'owner', pg_get_userbyid(d.datdba),
    'grants', CASE WHEN d.datacl IS NOT NULL THEN (
        SELECT coalesce(jsonb_agg(jsonb_build_object('to', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END,
                                                     'privilege', a.privilege_type, 'grantable', a.is_grantable)
                                  ORDER BY a.grantee, a.privilege_type), '[]')
        FROM aclexplode(d.datacl) a) END,
    'settings', (
        SELECT coalesce(jsonb_agg(jsonb_build_object('role', CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END,
                                                     'name', split_part(entry, '=', 1), 'value', substr(entry, strpos(entry, '=') + 1))
                                  ORDER BY s.setrole, entry), '[]')
        FROM pg_db_role_setting s, unnest(s.setconfig) entry WHERE s.setdatabase = d.oid),
    'roles', (
        SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') FROM (
            SELECT pg_get_userbyid(d.datdba)::text AS name
            UNION SELECT pg_get_userbyid(a.grantee)::text FROM aclexplode(d.datacl) a WHERE a.grantee <> 0
            UNION SELECT pg_get_userbyid(s.setrole)::text FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole <> 0
            UNION SELECT r.rolname::text FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
                WHERE s.refclassid = 'pg_authid'::regclass AND s.dbid = d.oid AND s.classid <> 'pg_extension'::regclass
                AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = s.classid AND e.objid = s.objid AND e.deptype = 'e')
            UNION SELECT pg_get_userbyid(10)::text FROM (
                SELECT 'pg_class'::regclass AS class, oid FROM pg_class WHERE relowner = 10
                UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE proowner = 10
                UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspowner = 10
                UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typowner = 10) o
                WHERE o.oid >= 16384
                AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = o.class AND e.objid = o.oid AND e.deptype = 'e')) roles
        WHERE name !~ '^pg_')
    ) FROM pg_database d WHERE d.datname = current_database()";

/// Settings whose value is a list of quoted names, which must not be quoted as one (`variable_is_guc_list_quote` of pg_dump).
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// What may be done with a database.
const PRIVILEGES: [&str; 3] = ["CONNECT", "CREATE", "TEMPORARY"];

/// What becomes of roles that the target has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// The restore is refused before it starts.
    #[default]
    Refused,
    /// They are made, without a right to log in.
    Created,
}

impl Snapshot {
    /// Who may do what with the database, as of the snapshot.
    pub fn access(&mut self, cx: &Context) -> Result<Access> {
        let what = format!("asking who may do what with {}", self.identity.database);
        let answer = self.ask(ACCESS, cx).map_err(|error| error.under(&what))?;
        serde_json::from_value(answer).explain(|| what)
    }
}

impl Postgres {
    /// Those of the roles that are not on the server.
    pub fn missing_roles(&self, roles: &BTreeSet<&str>, cx: &Context) -> Result<Vec<String>> {
        cx.wait(async {
            let client = self.connect(&self.settings.maintenance, cx).await?;
            let query = "SELECT name FROM unnest($1::text[]) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles) ORDER BY name";
            let roles: Vec<&str> = roles.iter().copied().collect();
            let rows = client.query(query, &[&roles]).await.map_err(|error| explain_sql(&error, ""))?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
    }
}

/// Roles that are not there, refused.
pub(super) fn lacking(dump: &str, missing: &[String], server: &str) -> Report {
    let shown = |name: &String| name.chars().filter(|c| !c.is_control()).collect::<String>();
    let names = missing.iter().map(shown).collect::<Vec<_>>().join(", ");
    let make: Vec<String> = missing.iter().map(|name| format!("CREATE ROLE {} NOLOGIN;", escape_identifier(&shown(name)))).collect();
    Report::refused(format!("{dump} gives things to roles that are not on {server}: {names}"))
        .hint("--create-roles makes them without a right to log in (in a runbook: `create_roles = true`)")
        .hint(format!("psql -c {}", shell_words::quote(&make.join(" "))))
}

/// Makes roles that nobody can log in as; all or none.
pub(super) async fn create_roles(client: &Client, roles: &[String]) -> Result<()> {
    let made: Vec<String> = roles.iter().map(|name| format!("CREATE ROLE {} NOLOGIN;", escape_identifier(name))).collect();
    // Several statements in one message are one transaction.
    client.batch_execute(&made.concat()).await.map_err(|error| explain_sql(&error, "").under("making roles"))
}

/// Takes back what [`create_roles`] made.
pub(super) async fn drop_roles(client: &Client, roles: &[String]) -> Result<()> {
    let gone: Vec<String> = roles.iter().map(|name| format!("DROP ROLE IF EXISTS {};", escape_identifier(name))).collect();
    client.batch_execute(&gone.concat()).await.map_err(|error| explain_sql(&error, "").under("dropping roles that were made for this"))
}

/// Statements that give a database what was recorded of its original; its owner it has already.
pub(super) fn statements(database: &str, access: &Access) -> Result<String> {
    let database = escape_identifier(database);
    let mut sql = match &access.grants {
        None => format!("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO PUBLIC;"),
        Some(_) => format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC, {};", escape_identifier(&access.owner)),
    };
    for grant in access.grants.iter().flatten() {
        let privilege = PRIVILEGES.iter().find(|word| **word == grant.privilege).ok_or_else(|| {
            let word: String = grant.privilege.chars().filter(|c| !c.is_control()).take(40).collect();
            Report::refused(format!("the manifest grants {word:?} on a database, which is no such right"))
        })?;
        let to = grant.to.as_deref().map_or_else(|| "PUBLIC".to_owned(), escape_identifier);
        let option = if grant.grantable && grant.to.is_some() { " WITH GRANT OPTION" } else { "" };
        // Writing to a string cannot fail.
        write!(sql, "GRANT {privilege} ON DATABASE {database} TO {to}{option};").ok();
    }
    for setting in &access.settings {
        let value = if LISTS.contains(&setting.name.to_ascii_lowercase().as_str()) {
            let names: Vec<String> = list(&setting.value).iter().map(|name| escape_literal(name)).collect();
            if names.is_empty() { "''".to_owned() } else { names.join(", ") }
        } else {
            escape_literal(&setting.value)
        };
        let whose = match &setting.role {
            None => format!("ALTER DATABASE {database}"),
            Some(role) => format!("ALTER ROLE {} IN DATABASE {database}", escape_identifier(role)),
        };
        write!(sql, "{whose} SET {} TO {value};", escape_identifier(&setting.name)).ok();
    }
    Ok(sql)
}

/// The names of a list setting: `"$user", public`.
fn list(value: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = value.trim_start();
    while !rest.is_empty() {
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut chars = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                if c == '"' && chars.next_if(|(_, next)| *next == '"').is_none() {
                    end = at + 1;
                    break;
                }
                name.push(c);
            }
            rest = &quoted[end..];
        }
        let (more, after) = rest.split_once(',').unwrap_or((rest, ""));
        name.push_str(more.trim());
        names.push(name);
        rest = after.trim_start();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::access::{Grant, Setting};

    #[test]
    fn a_list_setting_is_a_list_of_names() {
        assert_eq!(list(r#""$user", public"#), ["$user", "public"]);
        assert_eq!(list(r#""odd, ""one""",b"#), [r#"odd, "one""#, "b"]);
        assert_eq!(list(r#""""#), [""]);
        assert!(list("").is_empty());
    }

    #[test]
    fn text_that_somebody_wrote_into_a_manifest_is_quoted() {
        let odd = r#"a"; DROP TABLE x; --"#;
        let setting =
            |role: Option<&str>, name: &str, value: &str| Setting { role: role.map(str::to_owned), name: name.into(), value: value.into() };
        let access = Access {
            owner: odd.into(),
            grants: Some(vec![Grant { to: Some(odd.into()), privilege: "CONNECT".into(), grantable: true }]),
            settings: vec![setting(Some(odd), odd, "'; DROP TABLE x; --"), setting(None, "search_path", r#"shop, "a', b""#)],
            roles: Vec::new(),
        };
        let sql = statements("copy", &access).unwrap();
        let quoted = r#""a""; DROP TABLE x; --""#;
        let expected = [
            format!(r#"REVOKE ALL ON DATABASE "copy" FROM PUBLIC, {quoted};"#),
            format!(r#"GRANT CONNECT ON DATABASE "copy" TO {quoted} WITH GRANT OPTION;"#),
            format!(r#"ALTER ROLE {quoted} IN DATABASE "copy" SET {quoted} TO '''; DROP TABLE x; --';"#),
            r#"ALTER DATABASE "copy" SET "search_path" TO 'shop', 'a'', b';"#.to_owned(),
        ];
        assert_eq!(sql, expected.concat());
        let wrong = Access { grants: Some(vec![Grant { to: None, privilege: "ALL; DROP".into(), grantable: false }]), ..access };
        assert!(statements("copy", &wrong).unwrap_err().message.contains("no such right"));
    }
}
