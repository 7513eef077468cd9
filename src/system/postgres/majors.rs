//! What goes from one major version to another: PostgreSQL promises that an older dump goes into a newer server, by clients at least as new
//! as both. Everything else is refused before a database is made (G13, trap 32).

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::Postgres;
use super::clients::Clients;
use super::restore::Target;
use crate::port::{Context, Stream};
use crate::report::{Report, Result};

/// Clients from this major on write a line of settings that servers before it do not know, whatever server they talk to.
const WRITES_TIMEOUT: u32 = 17;

/// That line.
const TIMEOUT: &[u8] = b"SET transaction_timeout = 0;\n";

/// It stands among the first settings.
const HEAD: u64 = 16 << 10;

impl Postgres {
    /// Whether a dump can be restored here (the versions fit, the roles are there), asked before anything of it is read: `Kind::Refused` where not.
    pub fn can_restore(&self, target: Target<'_>, cx: &Context) -> Result<()> {
        self.clients_to_restore(target, cx)?;
        self.missing(target, cx).map(drop)
    }

    /// The clients that restore a dump into this server.
    pub(super) fn clients_to_restore(&self, target: Target<'_>, cx: &Context) -> Result<Clients> {
        let server_major = self.identity(&self.settings.maintenance, cx)?.major;
        if target.server_major > server_major {
            return Err(Report::refused(format!(
                "{} is a dump of PostgreSQL {}, and {} is PostgreSQL {server_major}: a dump does not go into an older major version",
                target.dump,
                target.server_major,
                self.describe()
            ))
            .hint(format!("restore it into a server of version {} or newer", target.server_major)));
        }
        Clients::for_server(self, server_major.max(target.client_major), cx).map_err(|report| {
            if target.client_major > server_major {
                let words = format!("{} was written by pg_dump {}, and wants clients no older", target.dump, target.client_major);
                report.under(words)
            } else {
                report
            }
        })
    }
}

/// Whether what such a client writes needs [`without_timeout`] before a server of this major takes it.
pub(super) fn needs_trimming(client_major: u32, server_major: u32) -> bool {
    client_major >= WRITES_TIMEOUT && server_major < WRITES_TIMEOUT
}

/// SQL text without the line that an older server refuses. Nothing else is changed, and no line is kept waiting for the next.
pub(super) fn without_timeout(sql: Stream) -> Stream {
    Box::new(Trimmed { rest: BufReader::new(sql), line: Cursor::default(), left: HEAD })
}

struct Trimmed {
    rest: BufReader<Stream>,
    /// What is given next.
    line: Cursor<Vec<u8>>,
    /// Bytes that are looked at yet.
    left: u64,
}

impl Read for Trimmed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.line.read(into)? {
                0 if self.left > 0 && !into.is_empty() => {}
                0 => return self.rest.read(into),
                count => return Ok(count),
            }
            let mut line = Vec::new();
            self.rest.by_ref().take(self.left).read_until(b'\n', &mut line)?;
            self.left = if line.is_empty() || line == TIMEOUT { 0 } else { self.left - line.len() as u64 };
            if line != TIMEOUT {
                self.line = Cursor::new(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_that_an_older_server_refuses_is_taken_out() {
        let trimmed = |text: &str| {
            let mut out = String::new();
            without_timeout(Box::new(Cursor::new(text.to_owned().into_bytes()))).read_to_string(&mut out).unwrap();
            out
        };
        assert_eq!(trimmed("SET a = 1;\nSET transaction_timeout = 0;\nSET b = 2;\n"), "SET a = 1;\nSET b = 2;\n");
        for other in
            ["x SET transaction_timeout = 0;\n", "SET transaction_timeout = 0; SELECT 1;\n", "SET transaction_timeout = 0;", "", "\n\n"]
        {
            assert_eq!(trimmed(other), other);
        }
        let long = "-- x\n".repeat(10_000);
        assert_eq!(trimmed(&long), long);
        let long = "x".repeat(100_000);
        assert_eq!(trimmed(&long), long);
    }
}
