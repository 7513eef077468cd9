//! Reaching a server through a command: `ssh host`, `kubectl exec -i pod --`, `docker exec -i container`, `sudo -u postgres`.

use std::path::Path;

/// The command that what is to be run is put behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// A program and its arguments, at least the program.
    pub command: Vec<String>,
    /// What follows it is joined into one text and read by a shell, as ssh does; otherwise it stays a list of arguments, as kubectl does.
    pub shell: bool,
}

impl Through {
    /// Only ssh is known to hand its arguments to a shell.
    pub fn new(command: Vec<String>) -> Self {
        let program = command.first().map(|program| Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned());
        Through { shell: program.as_deref() == Some("ssh"), command }
    }

    /// For messages: the program and where to, without the options in between: `ssh … db1`.
    pub fn describe(&self) -> String {
        let names: Vec<&str> = self.command.iter().map(String::as_str).filter(|word| *word != "--").collect();
        match names.as_slice() {
            [] => String::new(),
            [program] => (*program).to_owned(),
            [program, place] => format!("{program} {place}"),
            [program, .., place] => format!("{program} … {place}"),
        }
    }
}
