//! Holding off reboots while something is under way (G8), by systemd's own way.

use std::path::Path;

use crate::port::Context;
use crate::process::{Program, Running};

/// There where systemd runs the machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// Asks logind not to reboot, power off or sleep as long as what this gives is held (systemd-inhibit(1)); `systemctl reboot` and unattended
/// upgrades then say who holds them and why. `None` where systemd does not run the machine. It is a wish: a user who may not hold
/// reboots makes backups all the same, and the log says so. Killed with us, it lets go.
pub fn hold_off(why: &str, cx: &Context) -> Option<Running> {
    hold_off_with("systemd-inhibit", Path::new(BOOTED), why, cx)
}

fn hold_off_with(program: &str, booted: &Path, why: &str, cx: &Context) -> Option<Running> {
    if !booted.exists() {
        return None;
    }
    let held = Program::new(program)
        .args(["--what=shutdown:sleep", "--mode=block", "--who=lifeboat"])
        .arg(format!("--why={why}"))
        .args(["sleep", "infinity"])
        .serve(cx);
    held.map_err(|report| cx.log.say("systemd-inhibit", &format!("reboots are not held off: {report}"))).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use super::*;

    // G8
    #[test]
    fn reboots_are_held_off_as_long_as_it_is_held_where_systemd_runs_the_machine() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let cx = Context::new(runtime.handle().clone());
        let dir = tempfile::tempdir().unwrap();
        // logind cannot be had in a test; what it is asked can.
        let (program, asked) = (dir.path().join("inhibit"), dir.path().join("asked"));
        fs::write(&program, format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {0}.new; mv {0}.new {0}\nexec sleep 1000\n", asked.display()))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let program = program.to_str().unwrap();
        assert!(hold_off_with(program, &dir.path().join("nowhere"), "x", &cx).is_none());

        let mut held = hold_off_with(program, dir.path(), "backup of orders", &cx).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while !asked.exists() && Instant::now() < until {
            std::thread::yield_now();
        }
        let words = fs::read_to_string(&asked).unwrap();
        assert_eq!(words, "--what=shutdown:sleep\n--mode=block\n--who=lifeboat\n--why=backup of orders\nsleep\ninfinity\n");
        assert!(!held.has_ended());
        let id = held.id();
        drop(held);
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "it lets go");
    }
}
