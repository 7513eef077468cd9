//! Removing for good: where a bucket keeps versions, a plain delete only puts a marker on top of them.

use super::trouble::Operation;
use super::{S3, ask};
use crate::port::{Context, Store};
use crate::report::Result;

/// Removes every version of the key, the oldest first, so that no older one comes to light on the way. A store that knows no versions has none.
pub(super) fn erase(s3: &S3, key: &str, cx: &Context) -> Result<()> {
    let full = s3.full(key)?;
    let Some(mut versions) = versions(s3, &full, cx)? else { return s3.delete(key, cx) };
    versions.reverse();
    for version in versions {
        let request = s3.client.delete_object().bucket(&s3.settings.bucket).key(&full).version_id(version);
        match ask(cx, request.send())? {
            Err(trouble) if trouble.is_missing() && !trouble.is("NoSuchBucket") => {}
            Err(trouble) => return Err(s3.report(Operation::DeleteVersion, &trouble).cause(format!("a version of {key} stays"))),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The versions of exactly this key and the markers among them, newest first; `None` where the store cannot be asked for versions at all.
fn versions(s3: &S3, full: &str, cx: &Context) -> Result<Option<Vec<String>>> {
    let mut found = Vec::new();
    let (mut key_marker, mut version_marker) = (None, None);
    loop {
        let request = s3.client.list_object_versions().bucket(&s3.settings.bucket).prefix(full);
        let request = request.set_key_marker(key_marker.take()).set_version_id_marker(version_marker.take());
        let page = match ask(cx, request.send())? {
            Err(trouble) if trouble.is_not_implemented() => return Ok(None),
            answer => answer.map_err(|trouble| s3.report(Operation::ListVersions, &trouble))?,
        };
        let versions = page.versions().iter().map(|version| (version.key(), version.version_id(), version.last_modified()));
        let markers = page.delete_markers().iter().map(|marker| (marker.key(), marker.version_id(), marker.last_modified()));
        for (key, id, modified) in versions.chain(markers) {
            if key != Some(full) {
                continue;
            }
            let Some(id) = id else { return Err(s3.strange(format!("a version of `{}` has no id", full.escape_debug()))) };
            found.push((s3.instant(full, modified)?, id.to_owned()));
        }
        if page.is_truncated() != Some(true) {
            break;
        }
        (key_marker, version_marker) = (page.next_key_marker, page.next_version_id_marker);
        if key_marker.is_none() {
            return Err(s3.strange("a listing of versions is cut and does not say where to go on".into()));
        }
    }
    found.sort_by_key(|(modified, _)| std::cmp::Reverse(*modified));
    Ok(Some(found.into_iter().map(|(_, id)| id).collect()))
}
