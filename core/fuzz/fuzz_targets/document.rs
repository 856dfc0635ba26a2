//! Any bytes as the documents of a fleet, or as the specs that they are made from: no panic, whatever they are.
#![no_main]

use egressway_core::acl::compile;
use egressway_core::manifest::{self, Place, PolicySpec, PoolSpec};
use egressway_core::wire::document::{Clients, Floor, Policies, Policy, Pool, Secrets, VERSION};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = serde_json::from_slice::<Policies>(bytes) {
        let _ = compile::policies(&document);
    }
    if let Ok(document) = serde_json::from_slice::<Floor>(bytes) {
        let _ = compile::floor(&document, &[]);
    }
    if let Ok(document) = serde_json::from_slice::<Pool>(bytes) {
        let _ = compile::caps(&document.caps);
    }
    let _ = serde_json::from_slice::<Clients>(bytes);
    let _ = serde_json::from_slice::<Secrets>(bytes);
    if let Ok(spec) = serde_json::from_slice::<PolicySpec>(bytes) {
        for place in [Place::Cluster, Place::Alone] {
            if let Ok(content) = manifest::content(&spec, "ns", place) {
                let policy = Policy::seal("ns", "name", 1, content);
                let _ = compile::policies(&Policies {
                    version: VERSION,
                    policies: vec![policy],
                });
            }
        }
    }
    if let Ok(spec) = serde_json::from_slice::<PoolSpec>(bytes) {
        let _ = manifest::caps(&spec).map(|caps| compile::caps(&caps));
    }
});
