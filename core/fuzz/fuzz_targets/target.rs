//! Any text as a target: no panic, and what is accepted prints and parses to itself.
#![no_main]

use egressway_core::acl::{Host, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(target) = Target::parse(text) {
        assert_eq!(Target::parse(&target.to_string()).as_ref(), Ok(&target));
        if let Host::Name(name) = target.host() {
            assert!(name.is_ascii() && !name.ends_with('.') && name.parse::<std::net::IpAddr>().is_err());
        }
    }
});
