//! Signatures against published vectors, and what keys and ids are taken.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::Broken;
use super::verify::{self, Problem, PublicKey, Side};
use super::*;

const NOW: u64 = 1_614_265_330;

fn secret(key: &str, text: &str) -> Secret {
    Secret {
        data: BTreeMap::from([(key.to_owned(), text.to_owned())]),
        ..Secret::default()
    }
}

fn signing(scheme: Scheme, names: &[&str]) -> Signing {
    Signing {
        scheme,
        secrets: names
            .iter()
            .map(|name| SecretRef {
                name: (*name).to_owned(),
                key: None,
            })
            .collect(),
        header: (scheme != Scheme::StandardWebhooks).then(|| "X-Signature".to_owned()),
        encoding: Encoding::default(),
    }
}

fn signer(signing: &Signing, secrets: &[(&str, &Secret)]) -> Result<Signer, KeyError> {
    Signer::new(signing, |name| {
        let found = secrets.iter().find(|(other, _)| *other == name);
        found.map(|(_, secret)| *secret)
    })
}

fn occasion(seconds: u64) -> Occasion {
    let random = [7; 16];
    Occasion { seconds, random }
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn value<'a>(added: &'a [Added], name: &str) -> &'a str {
    &added.iter().find(|(other, _)| other == name).unwrap().1
}

fn headers(added: &[Added]) -> Vec<(&str, &str)> {
    added
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[test]
fn standard_webhooks_signs_as_the_specification_does() {
    let key = secret("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let signer = signer(&signing(Scheme::StandardWebhooks, &["a"]), &[("a", &key)]).unwrap();
    let added = signer
        .sign(
            br#"{"test": 2432232314}"#,
            Some(b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
            occasion(NOW),
        )
        .unwrap();
    assert_eq!(
        headers(&added),
        [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            (
                "webhook-signature",
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
            ),
        ]
    );
}

#[test]
fn hmac_signs_as_rfc_4231_does() {
    let key = secret("secret", "Jefe");
    let body = b"what do ya want for nothing?";
    let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let mut signing = signing(Scheme::HmacSha256, &["a"]);
    let added = signer(&signing, &[("a", &key)])
        .unwrap()
        .sign(body, None, occasion(1))
        .unwrap();
    assert_eq!(headers(&added), [("X-Signature", hex)]);
    signing.encoding = Encoding::Base64;
    let added = signer(&signing, &[("a", &key)])
        .unwrap()
        .sign(body, None, occasion(1))
        .unwrap();
    assert_eq!(
        headers(&added),
        [("X-Signature", "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=")]
    );
    signing.encoding = Encoding::PrefixedHex;
    let added = signer(&signing, &[("a", &key)])
        .unwrap()
        .sign(body, None, occasion(1))
        .unwrap();
    let prefixed = format!("sha256={hex}");
    assert_eq!(headers(&added), [("X-Signature", &*prefixed)]);
    let key = HmacKey::raw("Jefe").unwrap();
    for (encoding, text, expected) in [
        (Encoding::PrefixedHex, &*prefixed, Ok(())),
        (Encoding::PrefixedHex, hex, Err(Problem::Encoding)),
        (Encoding::Hex, &prefixed, Ok(())),
        (Encoding::Hex, hex, Ok(())),
        (
            Encoding::Hex,
            &prefixed.replace("256", "1"),
            Err(Problem::Encoding),
        ),
        (Encoding::Base64, &prefixed, Err(Problem::Encoding)),
    ] {
        let checked = verify::hmac_sha256(&key, &[("x-signature", text)], encoding, body);
        assert_eq!(checked, expected, "{encoding:?} {text}");
    }
}

#[test]
fn rsa_signs_with_either_form_of_key_and_the_public_key_verifies() {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8 = pair.as_der();
    let pkcs8: &Pkcs8V1Der<'_> = pkcs8.as_ref().unwrap();
    let public = pair.public_key().as_der();
    let public: &PublicKeyX509Der<'_> = public.as_ref().unwrap();
    let public = PublicKey::from_pem(&pem("PUBLIC KEY", public.as_ref())).unwrap();
    // Behind version (3 bytes) and algorithm (15) of PKCS#8 an OCTET STRING with a four byte header holds PKCS#1.
    let pkcs1 = &pkcs8.as_ref()[4 + 3 + 15 + 4..];
    for pem in [pem("PRIVATE KEY", pkcs8.as_ref()), pem("RSA PRIVATE KEY", pkcs1)] {
        for encoding in [Encoding::Hex, Encoding::Base64] {
            let mut signing = signing(Scheme::RsaSha256, &["a"]);
            signing.encoding = encoding;
            let signer = signer(&signing, &[("a", &secret("tls.key", &pem))]).unwrap();
            assert!(signer.is_slow() && signer.owns(b"x-signature"));
            let added = signer.sign(b"body", None, occasion(1)).unwrap();
            assert_eq!(
                verify::rsa_sha256(&public, &headers(&added), encoding, b"body"),
                Ok(())
            );
            assert_eq!(
                verify::rsa_sha256(&public, &headers(&added), encoding, b"bodY"),
                Err(Problem::Mismatch)
            );
        }
    }
}

#[test]
fn with_two_keys_both_sign_by_standard_webhooks_and_the_first_by_the_others() {
    let (new, old) = (secret("secret", "new"), secret("secret", "old"));
    let secrets = [("new", &new), ("old", &old)];
    let both = signer(&signing(Scheme::StandardWebhooks, &["new", "old"]), &secrets).unwrap();
    let added = both.sign(b"x", Some(b"id"), occasion(NOW)).unwrap();
    assert_eq!(value(&added, SIGNATURE).split(' ').count(), 2);
    for text in ["new", "old"] {
        let key = HmacKey::standard(text).unwrap();
        assert_eq!(
            verify::standard_webhooks(&key, &headers(&added), b"x", NOW, 0),
            Ok(())
        );
    }
    let first = signer(&signing(Scheme::HmacSha256, &["new", "old"]), &secrets).unwrap();
    let added = first.sign(b"x", None, occasion(NOW)).unwrap();
    let verified = |text| {
        verify::hmac_sha256(
            &HmacKey::raw(text).unwrap(),
            &headers(&added),
            Encoding::Hex,
            b"x",
        )
    };
    assert_eq!(
        (verified("new"), verified("old")),
        (Ok(()), Err(Problem::Mismatch))
    );
}

#[test]
fn an_id_of_the_client_is_taken_if_it_can_be_one() {
    let key = secret("secret", "k");
    let signer = signer(&signing(Scheme::StandardWebhooks, &["a"]), &[("a", &key)]).unwrap();
    let long = "x".repeat(256);
    let longer = "x".repeat(257);
    let made = format!("msg_{}", "07".repeat(16));
    for (sent, expected) in [
        (None, &*made),
        (Some("evt_1"), "evt_1"),
        (
            Some("123e4567-e89b-12d3-a456-426614174000"),
            "123e4567-e89b-12d3-a456-426614174000",
        ),
        (Some(&*long), &*long),
        (Some(&*longer), &*made),
        (Some(""), &*made),
        (Some("a.b"), &*made),
        (Some("a b"), &*made),
        (Some("a\u{e4}"), &*made),
    ] {
        let added = signer.sign(b"x", sent.map(str::as_bytes), occasion(NOW)).unwrap();
        assert_eq!(value(&added, ID), expected, "{sent:?}");
    }
    for own in ["webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP"] {
        assert!(signer.owns(own.as_bytes()));
    }
    assert!(!signer.owns(b"webhook-other"));
    // One field to whoever reads it behind CGI or WSGI.
    assert!(signer.owns(b"Webhook_Signature") && !signer.owns(b"webhook_signatures"));
}

#[test]
fn keys_that_cannot_be_used_say_why_and_nothing_of_themselves() {
    const CANARY: &str = "cAnArYcAnArY";
    let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let cut = pem("PRIVATE KEY", CANARY.as_bytes());
    let whsec = format!("whsec_{CANARY}!");
    let (quoted, asymmetric) = (format!("\"whsec_{CANARY}\""), format!("whsk_{CANARY}"));
    for (scheme, key, text, expected) in [
        (Scheme::HmacSha256, "secret", "", Broken::Empty),
        (Scheme::HmacSha256, "secret", "\r\n", Broken::Empty),
        (Scheme::StandardWebhooks, "secret", "whsec_", Broken::Empty),
        (Scheme::StandardWebhooks, "secret", &whsec, Broken::NotBase64),
        (Scheme::StandardWebhooks, "secret", &quoted, Broken::PrefixWithin),
        (
            Scheme::StandardWebhooks,
            "secret",
            &asymmetric,
            Broken::Asymmetric,
        ),
        (
            Scheme::StandardWebhooks,
            "secret",
            "whpk_AAAA",
            Broken::Asymmetric,
        ),
        (Scheme::RsaSha256, "tls.key", CANARY, Broken::NotPem),
        (Scheme::RsaSha256, "tls.key", &cut, Broken::NotRsa),
        (Scheme::RsaSha256, "tls.key", &ec, Broken::NotRsa),
    ] {
        // The second key is checked as well as the first.
        let good = secret(key, if scheme == Scheme::RsaSha256 { text } else { "good" });
        let error = signer(
            &signing(scheme, &["good", "bad"]),
            &[("good", &good), ("bad", &secret(key, text))],
        )
        .unwrap_err();
        assert!(
            matches!(&error, KeyError::Broken(_, broken) if *broken == expected),
            "{error:?}"
        );
        assert!(!format!("{error} {error:?}").contains(CANARY));
    }
    let one = signing(Scheme::HmacSha256, &["a"]);
    assert_eq!(signer(&one, &[]).unwrap_err(), KeyError::NoSecret("a".to_owned()));
    let other = secret("other", CANARY);
    assert_eq!(
        signer(&one, &[("a", &other)]).unwrap_err(),
        KeyError::NoKey("a".to_owned(), "secret".to_owned())
    );
    let good = secret("secret", CANARY);
    assert!(!format!("{:?}", signer(&one, &[("a", &good)])).contains(CANARY));
}

#[test]
fn a_delivery_that_does_not_verify_says_why() {
    let key = HmacKey::standard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let body = br#"{"test": 2432232314}"#;
    let id = ("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
    let time = ("webhook-timestamp", "1614265330");
    let good = ("webhook-signature", signature);
    let rotated = format!("v1,bm90IHRoaXM= v2,zzz {signature}");
    for (headers, now, expected) in [
        (&[id, time, good][..], NOW, Ok(())),
        (&[id, time, ("webhook-signature", &*rotated)], NOW, Ok(())),
        (&[id, time, good], NOW + 300, Ok(())),
        (
            &[id, time, good],
            NOW + 301,
            Err(Problem::Time {
                seconds: 301,
                side: Side::Past,
            }),
        ),
        (
            &[id, time, good],
            NOW - 301,
            Err(Problem::Time {
                seconds: 301,
                side: Side::Future,
            }),
        ),
        (&[time, good], NOW, Err(Problem::Missing(ID))),
        (&[id, good], NOW, Err(Problem::Missing(TIMESTAMP))),
        (&[id, time], NOW, Err(Problem::Missing(SIGNATURE))),
        (&[id, time, good, good], NOW, Err(Problem::Twice(SIGNATURE))),
        (&[("webhook-id", "a.b"), time, good], NOW, Err(Problem::Id)),
        (
            &[("webhook-id", "other"), time, good],
            NOW,
            Err(Problem::Mismatch),
        ),
        (
            &[id, ("webhook-timestamp", "+1"), good],
            NOW,
            Err(Problem::Timestamp),
        ),
        (
            &[id, time, ("webhook-signature", "v1a,xxxx")],
            NOW,
            Err(Problem::Version),
        ),
        (
            &[id, time, ("webhook-signature", "v1,****")],
            NOW,
            Err(Problem::Mismatch),
        ),
    ] {
        assert_eq!(
            verify::standard_webhooks(&key, headers, body, now, 300),
            expected,
            "{headers:?}"
        );
    }
    let raw = HmacKey::raw("k").unwrap();
    let hmac = |headers: &[(&str, &str)]| verify::hmac_sha256(&raw, headers, Encoding::Hex, body);
    assert_eq!(hmac(&[]), Err(Problem::OneHeader));
    assert_eq!(hmac(&[("a", "zz")]), Err(Problem::Encoding));
    assert_eq!(hmac(&[("a", "abc")]), Err(Problem::Encoding));
    assert_eq!(hmac(&[("a", "abcd")]), Err(Problem::Mismatch));
    assert_eq!(PublicKey::from_pem("x").unwrap_err(), Broken::NotPublic);
}

#[test]
fn a_public_key_that_verifies_nothing_is_not_the_deliverys_fault() {
    /// RSA with 1024 bits, OpenSSL's.
    const SHORT: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCYnuMVHbVF4lsi+j0Ys10Cadjf
vNS3QzM9qnVMkz805U+0SQq7eP0655PgEmAXD1yKQ6t9fthhMSGSQIlpGW9eAUd3
tmVaSpBgJJ5htuJFJ8V2IkiDoVI+mjZz938OVNCifQ9sT4O/NnWFs14TPQFF0vb1
tK0hd2K8kduk8YNPSQIDAQAB
-----END PUBLIC KEY-----";
    let ec = rcgen::KeyPair::generate().unwrap().public_key_pem();
    for text in [SHORT, &ec] {
        assert_eq!(PublicKey::from_pem(text).unwrap_err(), Broken::NotRsa, "{text}");
    }
}

/// The reference libraries take every secret for base64, with or without whsec_ in front, and most want its padding.
#[test]
fn a_secret_that_the_reference_libraries_read_otherwise_is_said() {
    for (text, said) in [
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", None),
        ("whsec_YWI=", None),
        ("whsec_YWI", Some("without its padding")),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Some("decode it")),
        ("no base64 at all", Some("is no base64")),
    ] {
        let remark = key::reference_remark(text);
        match said {
            Some(said) => assert!(remark.unwrap().contains(said), "{text}: {remark:?}"),
            None => assert_eq!(remark, None, "{text}"),
        }
    }
}
