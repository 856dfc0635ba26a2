//! Any bytes as the documents of a ConfigMap: no panic, whatever they are.
#![no_main]

use egressway_core::acl::compile;
use egressway_core::wire::document::{Floor, Policies, Pool};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = serde_json::from_slice::<Policies>(bytes) {
        let _ = compile::policies(&document);
    }
    if let Ok(document) = serde_json::from_slice::<Floor>(bytes) {
        let _ = compile::floor(&document, &[]);
    }
    let _ = serde_json::from_slice::<Pool>(bytes);
});
