//! Which PostgreSQL server is installed, and where.

use std::fs;
use std::path::{Path, PathBuf};

use crate::report::{Report, Result};

/// Where packages put servers, and what they write in front of the major version: Debian's, Red Hat's.
const PLACES: &[(&str, &str)] = &[("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];

/// Where `initdb` and `postgres` are: of this major version, or the newest; below `/usr`, else in the path.
pub fn find_programs(major: Option<u32>) -> Result<PathBuf> {
    let mut installed: Vec<(u32, PathBuf)> = PLACES.iter().flat_map(|(parent, prefix)| versions(parent, prefix)).collect();
    installed.retain(|(version, bin)| major.is_none_or(|wanted| wanted == *version) && is_server(bin));
    if let Some((_, bin)) = installed.into_iter().max() {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|bin| is_server(bin) && major.is_none_or(|wanted| major_of(bin) == Some(wanted)));
    found.ok_or_else(|| match major {
        Some(major) => no_server(&format!("of version {major}")).hint(format!("apt-get install postgresql-{major}")),
        None => no_server("on this machine").hint("apt-get install postgresql"),
    })
}

/// The same of exactly this major version, looked for in `directories` first.
pub fn find_among(directories: &[PathBuf], major: u32) -> Result<PathBuf> {
    let fits = |bin: &&PathBuf| is_server(bin) && major_of(bin) == Some(major);
    directories.iter().find(fits).cloned().map_or_else(|| find_programs(Some(major)), Ok)
}

/// Versions below `parent`, each with where its programs are.
fn versions(parent: &str, prefix: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let version = |name: &str| name.strip_prefix(prefix).and_then(|version| version.parse().ok());
    entries
        .filter_map(std::result::Result::ok)
        .filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path().join("bin"))))
        .collect()
}

pub(super) fn is_server(bin: &Path) -> bool {
    bin.join("initdb").is_file() && bin.join("postgres").is_file()
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15.
fn major_of(bin: &Path) -> Option<u32> {
    let output = std::process::Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

pub(super) fn no_server(place: &str) -> Report {
    Report::failed(format!("there is no PostgreSQL server {place}")).cause("the programs initdb and postgres are needed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_installed_says_what_to_install() {
        let report = find_programs(Some(7)).unwrap_err();
        assert_eq!(report.message, "there is no PostgreSQL server of version 7");
        assert_eq!(report.hints, ["apt-get install postgresql-7"]);
    }
}
