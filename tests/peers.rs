//! Servers that are not ours: what they do with our requests is theirs to decide, and that is the point.

mod garage;
mod post;
mod radosgw;
mod rights;
