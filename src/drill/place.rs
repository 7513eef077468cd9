//! Where a box lives, and which boxes are up.

use std::path::Path;

use crate::port::Context;
use crate::report::Result;
use crate::system::place::{self, Place};

/// A box of a living process has this name.
const PREFIX: &str = "lifeboat-box-";

/// A box that is to stay, and is not swept.
const KEPT: &str = "lifeboat-kept-";

/// Makes the directory of a box: the given one, which must be empty or not there, or a new one below the system's for temporary files.
pub(super) fn make(dir: Option<&Path>, keep: bool) -> Result<Place> {
    match dir {
        Some(dir) => Place::given(dir, keep),
        None => Place::new(&std::env::temp_dir(), if keep { KEPT } else { PREFIX }, keep),
    }
}

/// Whether a configuration lies in a box that is up: its owner's lock is held by a living process.
pub fn is_box(config: &Path) -> bool {
    place::is_held(config.parent().unwrap_or(Path::new(".")))
}

/// Removes the boxes of processes that are no more, with what may still run in them.
pub(super) fn sweep(cx: &Context) {
    place::sweep(&std::env::temp_dir(), PREFIX, "pg/data", cx);
}
