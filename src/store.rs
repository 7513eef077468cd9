//! Where dumps are kept. Each store is one file behind [`crate::port::Store`]; one conformance suite runs against all of them.

pub mod local;
pub mod post;
pub mod s3;
pub mod ticket;

use crate::report::{Report, Result};

/// S3's limit on a key, in bytes of UTF-8; the local store keeps to it, so that a dump can move from one to the other.
const KEY_LIMIT: usize = 1024;

/// A key every store can keep: parts joined by `/`, none of them empty, `.` or `..`; no control characters, 1024 bytes at most.
fn check_key(key: &str) -> Result<()> {
    let bad = |why: &str| Err(Report::refused(format!("`{}` cannot be a key: {why}", key.escape_debug())));
    if key.is_empty() {
        return bad("it is empty");
    }
    if key.len() > KEY_LIMIT {
        return bad("it is longer than 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return bad("it has a control character");
    }
    if key.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return bad("each part between `/` must be a name, and neither `.` nor `..`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_key;
    use crate::report::Kind;

    #[test]
    fn a_key_never_leaves_the_store() {
        for key in ["", "/etc/passwd", "../up", "a/../../b", "a/..", "a//b", "a/", ".", "a\0b", "a\nb", &"x".repeat(1025)] {
            assert_eq!(check_key(key).unwrap_err().kind, Kind::Refused, "{key}");
        }
        for key in ["a", "a/b", "..a", "a..b/c", "é ü + & % ' \" <>", ".hidden"] {
            check_key(key).unwrap();
        }
    }
}
