//! Any fields of a request: what was for the proxy, for this hop or named by Connection never goes on, and what goes on
//! does so as it arrived, in order.
#![no_main]

use bytes::Bytes;
use egressway_proxy::server::head::{Fields, tokens};
use egressway_proxy::server::hop::EndToEnd;
use libfuzzer_sys::fuzz_target;

const ENDS_HERE: [&str; 8] = [
    "connection",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-length",
    "trailer",
];
const PREFIXES: [&str; 3] = ["proxy-", "x-egressway-", "x-whsentry-"];

fuzz_target!(|bytes: &[u8]| {
    let Ok(fields) = Fields::parse(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let named: Vec<Vec<u8>> = fields
        .all("connection")
        .flat_map(tokens)
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    let mut all = fields.iter();
    for (name, value) in EndToEnd::of(&fields).iter() {
        assert!(all.any(|field| field == (name, value)), "fields keep their order");
        let lower = name.to_ascii_lowercase();
        assert!(!ENDS_HERE.iter().any(|own| own.as_bytes() == lower));
        assert!(!PREFIXES.iter().any(|own| lower.starts_with(own.as_bytes())));
        assert!(
            !named.contains(&lower)
                || ["close", "keep-alive"]
                    .iter()
                    .any(|usual| usual.as_bytes() == lower)
        );
    }
});
