//! Histories of dumps, and policies for them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::{properties, within};

fuzz_target!(|bytes: &[u8]| within(2048, bytes, |bytes| {
    properties::retention(bytes);
}));
