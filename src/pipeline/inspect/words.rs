//! SQL as pg_dump and pg_dumpall write it, word by word.

/// Schema and name, unquoted.
pub type Name = (String, String);

/// A table as PostgreSQL writes it: `shop."Odd ""one"""`.
pub fn name(text: &str) -> Option<Name> {
    let mut words = Words(text.as_bytes());
    let name = words.name()?;
    words.0.is_empty().then_some(name)
}

/// Reads SQL as pg_dump writes it, word by word.
pub struct Words<'a>(pub &'a [u8]);

impl Words<'_> {
    /// `ALTER TABLE [ONLY] a.b`.
    pub fn altered_table(&mut self) -> Option<Name> {
        self.keywords(&["ALTER", "TABLE"])?;
        // A table may be called "only", but not without quotes.
        self.keywords(&["ONLY"]);
        self.name()
    }

    fn blank(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// These words, and no others.
    pub fn keywords(&mut self, words: &[&str]) -> Option<()> {
        let mut rest = self.0;
        for word in words {
            rest = rest.trim_ascii_start().strip_prefix(word.as_bytes())?;
            if rest.first().is_some_and(|byte| is_word(*byte)) {
                return None;
            }
        }
        self.0 = rest;
        Some(())
    }

    /// `a.b`.
    pub fn name(&mut self) -> Option<Name> {
        let schema = self.identifier()?;
        self.0 = self.0.strip_prefix(b".")?;
        Some((schema, self.identifier()?))
    }

    /// One name, without its quotes.
    pub fn identifier(&mut self) -> Option<String> {
        self.blank();
        let Some(mut rest) = self.0.strip_prefix(b"\"") else {
            let length = self.0.iter().position(|byte| !is_word(*byte)).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(length);
            self.0 = rest;
            return (length > 0).then(|| String::from_utf8_lossy(word).into_owned());
        };
        let mut name = Vec::new();
        loop {
            let at = rest.iter().position(|byte| *byte == b'"')?;
            name.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            match rest.strip_prefix(b"\"") {
                Some(more) => rest = more,
                None => break,
            }
            name.push(b'"');
        }
        self.0 = rest;
        Some(String::from_utf8_lossy(&name).into_owned())
    }

    /// `( … )`, with whatever names are in it.
    pub fn parentheses(&mut self) -> Option<()> {
        self.blank();
        let mut depth = 0_u32;
        let mut quoted = false;
        for (at, byte) in self.0.iter().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b'(' if !quoted => depth += 1,
                b')' if !quoted => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                self.0 = &self.0[at + 1..];
                return (at > 0).then_some(());
            }
        }
        None
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
