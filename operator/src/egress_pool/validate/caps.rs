//! The outer wall of a pool, checked by the proxy's own compiler.

use egressway_core::acl::compile::{self, Problems};
use egressway_core::acl::lint;
use egressway_core::manifest;
use egressway_core::wire::document;
use egressway_crds::EgressPoolSpec;

use crate::desired::document::pool_spec;

/// The caps, once the proxy's own compiler has taken them and the NAT64 prefixes.
pub(super) fn caps(spec: &EgressPoolSpec, problems: &mut Problems) -> document::Caps {
    let read = pool_spec(spec).and_then(|spec| {
        let caps = manifest::caps(&spec)?;
        compile::caps(&caps)?;
        lint::caps(&caps, None).0.into_result(())?;
        let floor = document::Floor {
            version: document::VERSION,
            nat64_prefixes: manifest::nat64_prefixes(&spec),
            ..document::Floor::default()
        };
        compile::floor(&floor, &[])?;
        Ok(caps)
    });
    read.unwrap_or_else(|found| {
        for problem in found.list() {
            let (field, what) = problem.split_once(": ").unwrap_or(("", problem));
            let prefix = if field.starts_with("spec") { "" } else { "spec." };
            problems.push(format!("{prefix}{field}"), what);
        }
        document::Caps::default()
    })
}
