//! A listener's Secret through its mistakes: what stays, and what ends.

use egressway_core::acl::compile;
use egressway_core::wire::document::{Content, ListenerTls, Policies, PolicySecrets, Secret, Secrets};

use super::*;

fn policies(certificate: &str) -> Vec<Arc<Policy>> {
    let mut content = Content::default();
    content.listener.tls = Some(ListenerTls {
        certificate: certificate.to_owned(),
    });
    let policies = Policies {
        version: document::VERSION,
        policies: vec![document::Policy::seal("payments", "webhooks", 1, content)],
    };
    compile::policies(&policies).unwrap()
}

/// What the fleet's Secret holds; `None` is a Secret that is gone.
fn secrets(data: Option<&[(&str, &str)]>) -> Secrets {
    let secret = data.map(|data| Secret {
        data: data
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect(),
        ..Secret::default()
    });
    Secrets {
        version: document::VERSION,
        policies: vec![PolicySecrets {
            namespace: "payments".to_owned(),
            name: "webhooks".to_owned(),
            secrets: secret
                .map(|secret| ("tls".to_owned(), secret))
                .into_iter()
                .collect(),
        }],
    }
}

fn pair(year: i32) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec!["proxy.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn the_last_good_certificate_stays_while_its_secret_is_broken_and_not_when_it_is_gone() {
    let ((cert, key), (_, other)) = (pair(2099), pair(2099));
    let policies = policies("tls");
    let serves = |keyring: &Keyring| matches!(keyring.of(&policies[0]).listener(), Some(Ok(_)));
    let good: &[_] = &[("tls.crt", &*cert), ("tls.key", &*key)];
    for broken in [
        &[("tls.crt", &*cert), ("tls.key", &*other)][..],
        &[("tls.crt", "c4n4ry"), ("tls.key", &key)],
        &[("tls.crt", &cert), ("tls.key", "c4n4ry")],
        &[("tls.crt", &cert)],
        &[("tls.crt", ""), ("tls.key", "")],
    ] {
        let first = Keyring::new(&policies, secrets(Some(good)));
        assert!(serves(&first) && first.problems().is_empty());
        // Again and again, as other documents change meanwhile.
        let second = Keyring::after(&policies, secrets(Some(broken)), &first);
        let third = Keyring::after(&policies, secrets(Some(broken)), &second);
        for keyring in [&second, &third] {
            assert!(serves(keyring), "{broken:?}");
            let [problem] = keyring.problems() else {
                panic!("{:?}", keyring.problems())
            };
            assert!(
                problem.contains("listener: Secret tls")
                    && problem.contains("the last good certificate stays"),
                "{problem}"
            );
            assert!(!problem.contains("c4n4ry"));
        }
        let gone = Keyring::after(&policies, secrets(None), &third);
        assert!(!serves(&gone) && gone.problems().len() == 1);
        assert!(
            !serves(&Keyring::after(&policies, secrets(Some(broken)), &gone)),
            "it does not come back"
        );
        assert!(serves(&Keyring::after(&policies, secrets(Some(good)), &gone)));
        assert!(
            !serves(&Keyring::new(&policies, secrets(Some(broken)))),
            "there was none"
        );
    }
}

#[test]
fn a_certificate_that_has_expired_is_not_kept_and_neither_is_that_of_another_secret() {
    let (cert, key) = pair(2020);
    let expired: &[_] = &[("tls.crt", &*cert), ("tls.key", &*key)];
    let broken: &[_] = &[("tls.crt", &*cert)];
    let own = policies("tls");
    let first = Keyring::new(&own, secrets(Some(expired)));
    assert!(
        matches!(first.of(&own[0]).listener(), Some(Ok(_))),
        "clients judge it"
    );
    let second = Keyring::after(&own, secrets(Some(broken)), &first);
    assert!(matches!(second.of(&own[0]).listener(), Some(Err(_))));
    let (cert, key) = pair(2099);
    let good: &[_] = &[("tls.crt", &*cert), ("tls.key", &*key)];
    let first = Keyring::new(&own, secrets(Some(good)));
    let other = policies("other");
    let mut moved = secrets(Some(broken));
    let stood = moved.policies[0].secrets.remove("tls").unwrap();
    moved.policies[0].secrets.insert("other".to_owned(), stood);
    let second = Keyring::after(&other, moved, &first);
    assert!(matches!(second.of(&other[0]).listener(), Some(Err(_))));
}

#[test]
fn a_password_matches_in_latin_1_and_in_utf_8_whichever_its_secret_has() {
    let keys = |stored: &[u8]| Keys {
        secrets: BTreeMap::from([(
            "pass".to_owned(),
            Secret {
                passwords: BTreeMap::from([(
                    PASSWORD.to_owned(),
                    document::PasswordDigest::new("salt", stored),
                )]),
                ..Secret::default()
            },
        )]),
        ..Keys::default()
    };
    let refs = [SecretRef {
        name: "pass".to_owned(),
        key: None,
    }];
    let (utf_8, latin_1): (&[u8], &[u8]) = ("pä§ß".as_bytes(), b"p\xe4\xa7\xdf");
    for (stored, sent, expected) in [
        (utf_8, utf_8, true),
        (utf_8, latin_1, true),
        (latin_1, utf_8, true),
        (latin_1, latin_1, true),
        (utf_8, b"p\xe4\xa7", false),
        (utf_8, b"p???", false),
        ("p€".as_bytes(), "p€".as_bytes(), true),
        // No Latin-1: the sign of the euro is windows-1252's.
        ("p€".as_bytes(), b"p\x80", false),
        (b"plain", b"plain", true),
        (b"plain", b"Plain", false),
    ] {
        assert_eq!(
            keys(stored).has_password(&refs, sent),
            expected,
            "{stored:?} {sent:?}"
        );
    }
}
