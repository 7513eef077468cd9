//! What claims to be a plain dump.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::pipeline::manifest::Format;
use lifeboat_fuzz::{properties, size, within};

fuzz_target!(|bytes: &[u8]| within(256, bytes, |bytes| drop(properties::dump(Format::Plain, bytes, size(bytes)))));
