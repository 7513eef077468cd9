//! What lies in a bucket under the name of a manifest or a proof: it is read, or an error; and what was read is written as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::pipeline::manifest::{Manifest, Proof};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let text = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(serde_json::from_slice::<Manifest>(&text).unwrap().id, manifest.id);
        manifest.rows();
    }
    if let Ok(proof) = serde_json::from_slice::<Proof>(bytes) {
        serde_json::to_vec(&proof).unwrap();
    }
});
