//! What claims to be an archive of `pg_dump -Fc -Z0`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::pipeline::manifest::Format;
use lifeboat_fuzz::{properties, size, within};

fuzz_target!(|bytes: &[u8]| within(256, bytes, |bytes| drop(properties::dump(Format::Custom, bytes, size(bytes)))));
