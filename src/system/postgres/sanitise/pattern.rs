//! What personal data and secrets look like, what of it may be there, and how it is shown to nobody. Pure.

use regex::bytes::Regex;
use wildmatch::WildMatch;

/// The patterns a scan knows by name. They are made to be right when they match: what has no mark of its own (a name, a national telephone
/// number, an account) is found by an own pattern or by an assertion, not by these.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("email", EMAIL),
    // The group is the number: what stands before it must not be a letter, a digit or another `+`.
    ("phone", r"(?-u)(?:^|[^0-9A-Za-z_+])(\+[1-9](?:[ ().\-/]{0,2}[0-9]){7,14}|00[1-9][0-9]{0,2}[ .\-/(](?:[ ().\-/]{0,2}[0-9]){6,12})"),
    ("token", TOKEN),
    ("password-hash", r"(?-u)\$(?:2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}|argon2(?:id|i|d)\$v=|scrypt\$ln=|y\$|[156]\$[./A-Za-z0-9$=,]{12,})"),
];

/// Those that are looked for where nothing is said.
pub const STANDARD: [&str; 3] = ["email", "phone", "token"];

/// RFC 5321's mailboxes as people have them; in an address of the web the `@` is `%40`.
const EMAIL: &str = r"(?i-u)[a-z0-9._%+'\-]+(?:@|%40)[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?)*\.[a-z]{2,24}";

/// JSON web tokens, and keys that their makers marked: AWS, GitHub, GitLab, Google, npm, Slack, Stripe, SendGrid; private keys of any kind.
const TOKEN: &str = concat!(
    r"(?-u)eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*",
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}",
    r"|glpat-[A-Za-z0-9_\-]{20}",
    r"|AIza[0-9A-Za-z_\-]{35}",
    r"|npm_[A-Za-z0-9]{36}",
    r"|xox[abeoprs]-[A-Za-z0-9\-]{10}|hooks\.slack\.com/services/T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]+",
    r"|[rs]k_live_[0-9A-Za-z]{16}",
    r"|SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}",
    r"|-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
);

/// How much of what was found is shown, masked.
const SHOWN: usize = 48;

/// One thing that is looked for.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// What it is called.
    pub name: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.regex.as_str() == other.regex.as_str()
    }
}

impl Pattern {
    /// One of [`BUILT_IN`].
    pub fn built_in(name: &str) -> Option<Pattern> {
        let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Pattern::new(name, text).ok()
    }

    /// A regular expression of the `regex` crate's syntax; where it has a group, the first group is what is found. The error is its own words.
    pub fn new(name: &str, text: &str) -> Result<Pattern, String> {
        let regex = Regex::new(text).map_err(|error| error.to_string())?;
        if regex.is_match(b"") {
            return Err("it matches where nothing is".into());
        }
        Ok(Pattern { name: name.to_owned(), regex })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// The first match that `allow` does not allow and that ends after the first `known` bytes.
    pub fn find<'a>(&self, text: &'a [u8], known: usize, allow: &Allow) -> Option<&'a [u8]> {
        // Whether at all is asked first: that is quick, and the answer is mostly no.
        if !self.regex.is_match(text) {
            return None;
        }
        let found = self.regex.captures_iter(text).filter_map(|captures| captures.get(1).or(captures.get(0)));
        let mut found = found.filter(|found| found.end() > known).map(|found| found.as_bytes());
        found.find(|found| !allow.allows(&String::from_utf8_lossy(found)))
    }
}

/// What may be there although a pattern finds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allow {
    texts: Vec<String>,
    patterns: Vec<WildMatch>,
}

impl Allow {
    /// Texts, whole and in any case; `*` is any text, and `@example.org` any address of that domain.
    pub fn new(texts: &[String]) -> Allow {
        let pattern = |text: &String| {
            let text = text.to_lowercase();
            WildMatch::new(&if text.starts_with('@') { format!("*{text}") } else { text })
        };
        Allow { texts: texts.to_vec(), patterns: texts.iter().map(pattern).collect() }
    }

    /// As they are written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    fn allows(&self, found: &str) -> bool {
        let found = found.to_lowercase();
        self.patterns.iter().any(|pattern| pattern.matches(&found))
    }
}

/// A text that shows its shape and not what it says: of each word the first character, `*` for the others.
pub fn mask(text: &str) -> String {
    let mut masked = String::new();
    let mut within = false;
    for c in text.chars().take(SHOWN) {
        masked.push(match c {
            c if c.is_control() => ' ',
            c if c.is_alphanumeric() && within => '*',
            c => c,
        });
        within = c.is_alphanumeric();
    }
    if text.chars().count() > SHOWN {
        masked.push('…');
    }
    masked
}

/// Words of a server or a program, with everything that looks like personal data or a secret masked: they repeat what was in the rows.
pub fn discreet(words: &str) -> String {
    let mut words = words.to_owned();
    for pattern in BUILT_IN.iter().filter_map(|(name, _)| Pattern::built_in(name)) {
        while let Some(found) = pattern.find(words.as_bytes(), 0, &Allow::default()) {
            let found = String::from_utf8_lossy(found).into_owned();
            let masked = mask(&found);
            // A mask that is still found would go on for ever; nothing of it is shown then.
            let masked = if pattern.find(masked.as_bytes(), 0, &Allow::default()).is_some() { "…".to_owned() } else { masked };
            let next = words.replace(&found, &masked);
            if next == words {
                return "(not shown: it may repeat what is in the rows)".into();
            }
            words = next;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, text: &str) -> Option<String> {
        let found = Pattern::built_in(name).unwrap().find(text.as_bytes(), 0, &Allow::default())?;
        Some(String::from_utf8_lossy(found).into_owned())
    }

    #[test]
    fn what_is_built_in_finds_what_it_is_for_and_no_more() {
        for (name, text, found) in [
            ("email", "write to Ada.O'Brien+x@mail.example.co.uk, please", "Ada.O'Brien+x@mail.example.co.uk"),
            ("email", "{\"to\": \"a@b.io\"}", "a@b.io"),
            ("email", "https://x/?mail=ada%40example.org&b", "ada%40example.org"),
            ("phone", "call +44 (0)7700 900123 now", "+44 (0)7700 900123"),
            ("phone", "+14155550123", "+14155550123"),
            ("phone", "tel:0044 20 7946 0018", "0044 20 7946 0018"),
            ("token", "x AKIAIOSFODNN7EXAMPLE y", "AKIAIOSFODNN7EXAMPLE"),
            ("token", "ghp_0123456789abcdefghijklmnopqrstuvwxyz", "ghp_0123456789abcdefghijklmnopqrstuvwxyz"),
            ("token", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "-----BEGIN OPENSSH PRIVATE KEY-----"),
            ("token", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig_-", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig_-"),
            (
                "password-hash",
                "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
                "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
            ),
        ] {
            assert_eq!(find(name, text).as_deref(), Some(found), "{name} in {text}");
        }
        for (name, text) in [
            ("email", "user@localhost, @handle, a @ b.c, 3@5"),
            ("phone", "2026-11-21 02:00:00+10:30, 1e+1234567890, 12345678901234, a+4412345678, ++441234567890, 0012345678901"),
            ("token", "eyJhbGciOi, AKIA, ghp_short, -----BEGIN CERTIFICATE-----"),
            ("password-hash", "$1, $20.00, $2b$"),
        ] {
            assert_eq!(find(name, text), None, "{name} in {text}");
        }
    }

    #[test]
    fn what_is_allowed_is_passed_over_and_what_stands_behind_it_is_not() {
        let allow = Allow::new(&["@Example.org".into(), "ops@*.example.com".into()]);
        let email = Pattern::built_in("email").unwrap();
        let find = |text: &str| email.find(text.as_bytes(), 0, &allow).map(|found| String::from_utf8_lossy(found).into_owned());
        assert_eq!(find("a@example.org, OPS@eu.example.com"), None);
        assert_eq!(find("a@example.org, b@example.net").as_deref(), Some("b@example.net"));
        assert_eq!(find("a@sub.example.org").as_deref(), Some("a@sub.example.org"), "a domain is that domain");
        assert_eq!(find("a@notexample.org").as_deref(), Some("a@notexample.org"));
    }

    #[test]
    fn an_own_pattern_that_is_none_or_matches_everything_is_refused() {
        assert!(Pattern::new("own", "(").unwrap_err().contains("unclosed group"));
        assert!(Pattern::new("own", "[0-9]*").is_err());
        let own = Pattern::new("nino", "(?:^|[^A-Z])([A-Z]{2}[0-9]{6}[A-D])").unwrap();
        assert_eq!(own.find(b"no: QQ123456C.", 0, &Allow::default()), Some(&b"QQ123456C"[..]));
    }

    #[test]
    fn a_mask_shows_the_shape_and_words_of_others_lose_what_they_repeat() {
        assert_eq!(mask("Ada O'Brien <ada.lovelace@mail.org>"), "A** O'B**** <a**.l*******@m***.o**>");
        assert_eq!(mask("+44 7700\n900123"), "+4* 7*** 9*****");
        assert!(mask(&"x".repeat(500)).chars().count() <= SHOWN + 1);
        let words = discreet("Key (email)=(ada@example.org) and +44 7700 900123 exist, ada@example.org again");
        assert!(!words.contains("ada@") && !words.contains("900123") && words.contains("a**@e******.o**"), "{words}");
    }
}
