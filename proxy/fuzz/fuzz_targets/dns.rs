//! Any bytes from a name server: no panic, addresses of the family that was asked for alone, and never an answer under
//! another number.
#![no_main]

use egressway_proxy::resolve::question::{Family, Meaning, Question, Reading};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u16, bool)| {
    let (bytes, id, v4) = input;
    let family = if v4 { Family::V4 } else { Family::V6 };
    let Some(question) = Question::new(id, "a.example", family) else {
        return;
    };
    match question.read(bytes) {
        Reading::Answer(Meaning::Found { addresses, .. }) => {
            assert!(!addresses.is_empty() && addresses.iter().all(|ip| ip.is_ipv4() == v4));
            assert_eq!(bytes.get(..2), Some(&id.to_be_bytes()[..]));
        }
        Reading::Answer(Meaning::Missing { .. }) => {
            assert_eq!(bytes.get(..2), Some(&id.to_be_bytes()[..]));
        }
        Reading::NotOurs | Reading::Truncated | Reading::Flawed(_) => {}
    }
});
