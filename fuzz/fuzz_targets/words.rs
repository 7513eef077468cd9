//! SQL word by word, roles, and what is typed for a dump.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::{properties, within};

fuzz_target!(|bytes: &[u8]| within(256, bytes, properties::words));
