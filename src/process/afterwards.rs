//! What is left to do when this process is gone, however it went: `kill -9` runs no destructor, but it closes our end of a pipe.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::report::{Explain, Result};

/// Waits for the end of its input, and for nothing else: a signal from the terminal is for us. The second goes only when the first is gone.
const REMOVE: &str = "cat >/dev/null; rm -rf -- \"$0\" && rm -f -- \"$1\"";

/// A shell that waits for our end. Dropping it lets it do its work at once, and waits for that.
#[derive(Debug)]
pub struct Afterwards(Child);

impl Afterwards {
    /// Removes a directory and all that is in it, then a file.
    pub fn remove(directory: &Path, then: &Path) -> Result<Afterwards> {
        let mut command = Command::new("sh");
        command.args(["-c", REMOVE]).arg(directory).arg(then).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Afterwards(command.spawn().explain(|| "starting sh".into())?))
    }
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // What it could not do is found by whoever sweeps.
        self.0.wait().ok();
    }
}
