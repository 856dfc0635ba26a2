//! What the unit tests of several modules need: a policy of a given name that has no rules.

use std::sync::Arc;

use egressway_core::acl::{Policy, compile};
use egressway_core::wire::document;

pub(crate) fn policy(namespace: &str, name: &str) -> Arc<Policy> {
    let policies = document::Policies {
        version: document::VERSION,
        policies: vec![document::Policy::seal(
            namespace,
            name,
            1,
            document::Content::default(),
        )],
    };
    compile::policies(&policies).unwrap().remove(0)
}
