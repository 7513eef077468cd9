//! What a store says to a post, and what it means.

/// The answer to a post.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The header, or what the XML of a 201 says.
    pub(super) etag: Option<String>,
    /// The first kilobytes.
    pub(super) body: String,
}

impl Answer {
    /// 201 is asked for; 200 and 204 are what some say instead.
    pub(super) fn is_stored(&self) -> bool {
        [200, 201, 204].contains(&self.status)
    }

    /// It may be otherwise in a moment.
    pub(super) fn is_passing(&self) -> bool {
        self.status >= 500 && self.status != 501 && self.status != 507
    }

    /// S3's word for what went wrong.
    pub(super) fn is(&self, code: &str) -> bool {
        element(&self.body, "Code") == Some(code)
    }

    pub(super) fn says(&self, word: &str) -> bool {
        self.body.to_ascii_lowercase().contains(word)
    }

    /// What an ETag is where an object came in one request and is not encrypted with a key of KMS: else it is something else or nothing.
    pub(super) fn md5(&self) -> Option<String> {
        let etag = self.etag.as_deref().or_else(|| element(&self.body, "ETag"))?;
        let etag = etag.replace("&quot;", "").replace("&#34;", "").trim_matches('"').to_ascii_lowercase();
        (etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(etag)
    }

    /// On one line, without what a terminal would obey.
    pub(super) fn summary(&self) -> String {
        let words = match (element(&self.body, "Code"), element(&self.body, "Message")) {
            (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message}"),
            (Some(code), _) => code.to_owned(),
            _ => String::new(),
        };
        let clean: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        format!("HTTP status {} {clean}", self.status).trim_end().to_owned()
    }
}

/// The text of the first element of that name. S3's answers to a post are flat, and only looked at for words to show and to compare.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let from = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let rest = &xml[from..];
    rest.find(&format!("</{name}>")).map(|to| &rest[..to])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, etag: Option<&str>, body: &str) -> Answer {
        Answer { status, etag: etag.map(Into::into), body: body.into() }
    }

    #[test]
    fn an_etag_is_an_md5_only_where_it_looks_like_one() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(answer(204, Some(&format!("\"{md5}\"")), "").md5().as_deref(), Some(md5));
        let xml = format!("<PostResponse><ETag>&quot;{md5}&quot;</ETag></PostResponse>");
        assert_eq!(answer(201, None, &xml).md5().as_deref(), Some(md5));
        assert_eq!(answer(201, Some("\"d41d8cd98f00b204e9800998ecf8427e-2\""), "").md5(), None);
        assert_eq!(answer(201, None, "").md5(), None);
    }

    #[test]
    fn a_refusal_is_told_by_its_code_and_without_control_characters() {
        let refused = answer(403, None, "<Error><Code>AccessDenied</Code><Message>no\x1b[2J</Message></Error>");
        assert!(refused.is("AccessDenied") && !refused.is_stored() && !refused.is_passing());
        assert_eq!(refused.summary(), "HTTP status 403 AccessDenied: no [2J");
        assert!(answer(503, None, "").is_passing());
    }
}
