//! What lies in a bucket under the names of manifests and proofs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_fuzz::{properties, within};

fuzz_target!(|bytes: &[u8]| within(256, bytes, |bytes| {
    properties::manifests(bytes);
}));
