//! The roles in a dump of globals: which there are, and what of the dump makes those that a server has not.
//!
//! A role that is there already is never touched: it is somebody's, and the server it is on may differ on purpose from the one that was dumped.

use std::collections::BTreeSet;

use super::inspect::plain::thin::statements;
use super::inspect::words::Words;
use crate::report::Result;

/// One statement about a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The role that it makes or changes.
    pub role: String,
    /// `GRANT`: the role that this one becomes a member of.
    pub member_of: Option<String>,
    /// The SQL, as it is in the dump.
    pub sql: String,
}

/// What a dump of globals says of roles, in its order. Tablespaces, and what is said of databases, are left out.
pub fn read(text: &[u8]) -> Result<Vec<Statement>> {
    Ok(statements(text)?.into_iter().filter_map(statement).collect())
}

/// The roles that are made.
pub fn made(statements: &[Statement]) -> BTreeSet<&str> {
    statements.iter().filter(|statement| statement.sql.starts_with("CREATE ROLE ")).map(|statement| statement.role.as_str()).collect()
}

/// The statements that make the roles a server has not, and say what they are; `there` are those it has.
pub fn wanted<'a>(statements: &'a [Statement], there: &BTreeSet<String>) -> Vec<&'a Statement> {
    let new: BTreeSet<&str> = made(statements).into_iter().filter(|role| !there.contains(*role)).collect();
    statements.iter().filter(|statement| new.contains(statement.role.as_str())).collect()
}

fn statement(sql: String) -> Option<Statement> {
    let mut words = Words(sql.as_bytes());
    let about = [&["CREATE", "ROLE"][..], &["ALTER", "ROLE"], &["COMMENT", "ON", "ROLE"]];
    if about.into_iter().any(|keywords| words.keywords(keywords).is_some()) {
        let role = words.identifier()?;
        // A setting in one database belongs to that database.
        let elsewhere = words.keywords(&["IN", "DATABASE"]).is_some();
        return (!elsewhere).then_some(Statement { role, member_of: None, sql });
    }
    words.keywords(&["GRANT"])?;
    let member_of = words.identifier()?;
    words.keywords(&["TO"])?;
    let role = words.identifier()?;
    Some(Statement { role, member_of: Some(member_of), sql })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBALS: &str = "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict abc\n\nSET standard_conforming_strings = on;\n\n\
        CREATE ROLE clerk;\nALTER ROLE clerk WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x;y''--$z';\n\
        CREATE ROLE \"Boss; -- \";\nALTER ROLE \"Boss; -- \" WITH SUPERUSER;\nCOMMENT ON ROLE \"Boss; -- \" IS 'CREATE ROLE x;\n\\connect';\n\
        ALTER ROLE clerk SET search_path TO 'shop';\nALTER ROLE clerk IN DATABASE d SET work_mem TO '1';\n\
        GRANT \"Boss; -- \" TO clerk WITH INHERIT TRUE GRANTED BY postgres;\nGRANT pg_read_all_data TO clerk;\n\
        CREATE TABLESPACE fast OWNER clerk LOCATION '/x';\nGRANT CREATE ON TABLESPACE fast TO clerk;\n\n\
        --\n-- PostgreSQL database cluster dump complete\n--\n\n\\unrestrict abc\n\n";

    #[test]
    fn what_is_said_of_roles_is_found_whatever_they_are_called() {
        let found = read(GLOBALS.as_bytes()).unwrap();
        let subjects: Vec<&str> = found.iter().map(|statement| statement.role.as_str()).collect();
        assert_eq!(subjects, ["clerk", "clerk", "Boss; -- ", "Boss; -- ", "Boss; -- ", "clerk", "clerk", "clerk"]);
        assert_eq!(found[6].member_of.as_deref(), Some("Boss; -- "));
        assert!(found[1].sql.ends_with("x;y''--$z';") && found[4].sql.contains("\n\\connect';"), "{found:?}");
        assert_eq!(made(&found), ["Boss; -- ", "clerk"].into());
    }

    #[test]
    fn a_role_that_is_there_is_not_touched() {
        let found = read(GLOBALS.as_bytes()).unwrap();
        let there = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        assert!(wanted(&found, &there(&["clerk"])).iter().all(|statement| statement.role == "Boss; -- "));
        assert_eq!(wanted(&found, &there(&[])).len(), found.len());
        assert!(wanted(&found, &there(&["clerk", "Boss; -- "])).is_empty());
    }
}
