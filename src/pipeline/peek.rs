//! Looking into a dump without restoring it (B10).

use std::io::Read;

use super::inspect::outline::{Outline, Wish};
use super::inspect::{Contents, Inspector};
use super::manifest::{Format, Manifest};
use super::show;
use crate::port::{Context, Stream};
use crate::report::{Report, Result};

/// What was seen of a dump.
#[derive(Debug)]
pub struct Look {
    /// Tables, rows, statements.
    pub outline: Outline,
    /// Everything counted, where the dump was read to its end: then it is proven up to L4. `None` where what was wanted was there before.
    pub contents: Option<Contents>,
}

/// Reads a dump until everything wished for was seen, or to its end. What is behind `stream` stops when it is dropped, early or not.
pub fn look(mut stream: Stream, format: Format, wish: Wish, cx: &Context) -> Result<Look> {
    let mut inspector = Inspector::new(format);
    let mut outline = Outline::of(wish);
    let mut buffer = vec![0; 1 << 17];
    loop {
        cx.check()?;
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.map_err(|error| Report::from_io("reading the dump", error))?,
        };
        if count == 0 {
            return Ok(Look { outline, contents: Some(inspector.finish()?) });
        }
        inspector.feed_to(&buffer[..count], &mut outline)?;
        if outline.is_done() {
            return Ok(Look { outline, contents: None });
        }
    }
}

/// The table that is meant: as PostgreSQL prints it, or without its schema or quotes where only one can be meant. None is `Kind::Refused`,
/// as a dump that is not there; several are `Kind::Usage`.
pub fn table<'a>(manifest: &'a Manifest, wanted: &str) -> Result<&'a str> {
    if let Some((name, _)) = manifest.tables.get_key_value(wanted) {
        return Ok(name);
    }
    let plain = |name: &str| name.replace('"', "");
    let same =
        |name: &&String| plain(name) == wanted || name.rsplit_once('.').is_some_and(|(_, last)| last == wanted || plain(last) == wanted);
    let found: Vec<&String> = manifest.tables.keys().filter(same).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let report = Report::refused(format!("there is no table {} in {}", show(wanted), manifest.object));
            Err(match near(manifest, wanted) {
                Some(near) => report.hint(format!("there is {}", show(near))),
                None => report.hint(format!("lifeboat peek {} --quick", manifest.object)),
            })
        }
        several => {
            let names = several.iter().map(|name| show(name)).collect::<Vec<_>>().join(", ");
            Err(Report::usage(format!("{} could mean several tables", show(wanted))).hint(format!("one of: {names}")))
        }
    }
}

/// The name most like it, if it is rather like it.
fn near<'a>(manifest: &'a Manifest, wanted: &str) -> Option<&'a str> {
    let likeness = |name: &str| {
        let last = name.rsplit_once('.').map_or(name, |(_, last)| last);
        strsim::jaro_winkler(name, wanted).max(strsim::jaro_winkler(last, wanted))
    };
    let best = manifest.tables.keys().map(|name| (likeness(name), name)).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 > 0.8).then_some(best.1.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Kind;

    #[test]
    fn a_table_is_meant_by_its_own_name_where_only_one_can_be() {
        let text = r#"{"version":1,"id":"0","job":"a","environment":"e","object":"o","format":"plain","compression":"gzip","recipients":[],
            "origin":{"database":"d","system_identifier":"1","server_version":"15","client_version":"15"},
            "snapshot_at":"2026-11-21T03:00:00Z","started_at":"2026-11-21T03:00:00Z","ended_at":"2026-11-21T03:00:00Z",
            "plain":{"bytes":0,"sha256":""},"stored":{"bytes":0,"sha256":""},"tables":{
            "shop.orders":{"rows":1,"bytes":1},"old.orders":{"rows":1,"bytes":1},"shop.\"Items\"":{"rows":1,"bytes":1}},
            "schema":{"constraints":0,"indexes":0,"views":0,"sequences":0,"triggers":0,"large_objects":0},"stages":[],"tool":"t"}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        for wanted in ["Items", "shop.Items", "shop.\"Items\""] {
            assert_eq!(table(&manifest, wanted).unwrap(), "shop.\"Items\"", "{wanted}");
        }
        let several = table(&manifest, "orders").unwrap_err();
        assert!(several.kind == Kind::Usage && several.hints[0].contains("old.orders, shop.orders"), "{several:?}");
        let none = table(&manifest, "oders").unwrap_err();
        assert!(none.kind == Kind::Refused && none.hints[0].contains(".orders"), "{none:?}");
    }
}
