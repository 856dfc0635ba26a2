//! Any key, id and body: what is signed verifies with the same key, and with nothing changed; headers that a stranger
//! wrote verify or do not, and nothing panics.
#![no_main]

use std::collections::BTreeMap;

use egressway_core::wire::document::{Encoding, Scheme, Secret, SecretRef, Signing};
use egressway_proxy::signing::key::HmacKey;
use egressway_proxy::signing::verify::{self, Problem};
use egressway_proxy::signing::{ID, Occasion, SIGNATURE, Signer, TIMESTAMP};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8], u64, [&str; 3])| {
    let (text, id, body, seconds, strange) = input;
    for scheme in [Scheme::StandardWebhooks, Scheme::HmacSha256, Scheme::RsaSha256] {
        let Some(signer) = signer(scheme, text) else {
            continue;
        };
        let occasion = Occasion {
            seconds,
            random: [0; 16],
        };
        let Ok(added) = signer.sign(body, Some(id), occasion) else {
            continue;
        };
        let headers: Vec<(&str, &str)> = added.iter().map(|(name, value)| (&**name, &**value)).collect();
        for (name, value) in &headers {
            assert!(signer.owns(name.as_bytes()));
            assert!(value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        }
        let other = [body, b"x"].concat();
        match scheme {
            Scheme::StandardWebhooks => {
                let key = HmacKey::standard(text).expect("it signed");
                assert_eq!(
                    verify::standard_webhooks(&key, &headers, body, seconds, 0),
                    Ok(())
                );
                let changed = verify::standard_webhooks(&key, &headers, &other, seconds, 0);
                assert_eq!(changed, Err(Problem::Mismatch));
                let strange = [(ID, strange[0]), (TIMESTAMP, strange[1]), (SIGNATURE, strange[2])];
                let _ = verify::standard_webhooks(&key, &strange, body, seconds, u64::MAX);
            }
            Scheme::HmacSha256 => {
                let key = HmacKey::raw(text).expect("it signed");
                assert_eq!(verify::hmac_sha256(&key, &headers, Encoding::Hex, body), Ok(()));
                let changed = verify::hmac_sha256(&key, &headers, Encoding::Hex, &other);
                assert_eq!(changed, Err(Problem::Mismatch));
                for encoding in [Encoding::Hex, Encoding::Base64] {
                    let _ = verify::hmac_sha256(&key, &[("a", strange[0])], encoding, body);
                }
            }
            Scheme::RsaSha256 => {}
        }
    }
});

fn signer(scheme: Scheme, text: &str) -> Option<Signer> {
    let signing = Signing {
        scheme,
        secrets: vec![SecretRef {
            name: "a".to_owned(),
            key: Some("k".to_owned()),
        }],
        header: Some("X-Signature".to_owned()),
        encoding: Encoding::Hex,
    };
    let secret = Secret {
        data: BTreeMap::from([("k".to_owned(), text.to_owned())]),
        ..Secret::default()
    };
    Signer::new(&signing, |_| Some(&secret)).ok()
}
