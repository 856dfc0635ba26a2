//! Secrets that are missing, broken, unreadable or too large: what each costs, and its words. No words hold a Secret's.

use super::*;

#[test]
fn what_is_missing_or_broken_is_left_out_and_named_with_what_to_apply() {
    let pki = pki();
    let unlabelled = || match secret("listener", &[("tls.crt", CANARY)]) {
        Read::Found(mut secret) => {
            secret.metadata.labels = None;
            Read::Found(secret)
        }
        other => other,
    };
    let label = "kubectl label secret listener --namespace payments egressway.dev/use=proxy";
    let rows: Vec<(&str, Read, Reason, &str)> = vec![
        ("listener", Read::Missing, Reason::SecretNotFound, label),
        (
            "listener",
            Read::Missing,
            Reason::SecretNotFound,
            "spec.listener.tls.certificateRef: Secret payments/listener does not exist: create it with tls.crt and tls.key",
        ),
        (
            "listener",
            Read::Forbidden,
            Reason::SecretForbidden,
            "kubectl create rolebinding egressway-secret-reader --namespace payments --clusterrole=egressway-secret-reader --serviceaccount=system:egressway",
        ),
        ("listener", unlabelled(), Reason::SecretNotLabelled, label),
        (
            "listener",
            secret("listener", &[("tls.crt", &pki.cert)]),
            Reason::SecretKeyMissing,
            "has no key tls.key",
        ),
        (
            "listener",
            secret("listener", &[("tls.crt", CANARY), ("tls.key", &pki.key)]),
            Reason::SecretInvalid,
            "tls.crt holds no certificate",
        ),
        (
            "listener",
            secret("listener", &[("tls.crt", &pki.ca), ("tls.key", &pki.key)]),
            Reason::SecretInvalid,
            "tls.key does not belong to the first certificate of tls.crt",
        ),
        (
            "listener",
            secret("listener", &[("tls.crt", &pki.cert), ("tls.key", CANARY)]),
            Reason::SecretInvalid,
            "tls.key holds no private key",
        ),
        (
            "client-ca",
            secret("client-ca", &[("ca.crt", &pki.ca), ("ca.crl", CANARY)]),
            Reason::SecretInvalid,
            "spec.clients[batch].auth.certificate.caRef",
        ),
        (
            "client-ca",
            secret("client-ca", &[("ca.crl", &pki.crl)]),
            Reason::SecretKeyMissing,
            "ca.crt",
        ),
        (
            "upstream-ca",
            secret(
                "upstream-ca",
                &[(
                    "ca.crt",
                    "-----BEGIN CERTIFICATE-----\nYzRuNHJ5\n-----END CERTIFICATE-----\n",
                )],
            ),
            Reason::SecretInvalid,
            "spec.rules[tls].upstreamTLS.caRef",
        ),
        (
            "hmac",
            secret("hmac", &[("secret", "\n")]),
            Reason::SecretInvalid,
            "spec.rules[hmac].signing.secretRefs: Secret payments/hmac cannot be used: secret is empty",
        ),
        (
            "webhook",
            secret("webhook", &[("secret", "whsec_c4n4ry!")]),
            Reason::SecretInvalid,
            "is no base64",
        ),
        (
            "webhook",
            secret("webhook", &[("secret", "\"whsec_YzRuNHJ5\"")]),
            Reason::SecretInvalid,
            "whsec_ does not stand first",
        ),
        (
            "webhook",
            secret("webhook", &[("secret", "whsk_YzRuNHJ5")]),
            Reason::SecretInvalid,
            "asymmetric",
        ),
        (
            "webhook",
            secret("webhook", &[("secret", "")]),
            Reason::SecretInvalid,
            "is empty",
        ),
        (
            "rsa",
            secret("rsa", &[("tls.key", &pki.key)]),
            Reason::SecretInvalid,
            "is no RSA private key",
        ),
        (
            "rsa",
            secret("rsa", &[("tls.key", CANARY)]),
            Reason::SecretInvalid,
            "holds no private key",
        ),
    ];
    let whole = run(&all(&pki), None);
    for (name, read, reason, words) in rows {
        let mut reads = all(&pki);
        reads.insert(name.to_owned(), read);
        // What stands is no consolation: a Secret that was taken away denies at once. For a listener's pair that is broken
        // nothing may stand.
        let pair_broken =
            name == "listener" && matches!(reason, Reason::SecretInvalid | Reason::SecretKeyMissing);
        let resolution = run(&reads, whole.document.as_ref().filter(|_| !pair_broken));
        let [problem] = resolution.problems.as_slice() else {
            panic!("{name}: {:?}", resolution.problems);
        };
        assert_eq!(problem.reason, reason, "{}", problem.message);
        assert!(problem.message.contains(words), "{words}: {}", problem.message);
        assert!(!problem.message.contains(CANARY), "{}", problem.message);
        assert_eq!(problem.listener, name == "listener");
        assert!(!taken(&resolution).contains_key(name), "{name} is left out");
        assert_eq!(taken(&resolution).len(), 7, "and nothing else is");
    }
}

#[test]
fn a_password_that_is_missing_beside_a_good_one_denies_alone() {
    let pki = pki();
    let mut reads = all(&pki);
    reads.insert(
        "password".to_owned(),
        secret("password", &[("password", "p"), ("next", "\n")]),
    );
    let resolution = run(&reads, None);
    assert_eq!(taken(&resolution)["password"].passwords.len(), 1);
    assert_eq!(resolution.problems.len(), 1);
}

#[test]
fn a_read_that_fails_for_the_moment_keeps_what_stands_and_is_needed() {
    let pki = pki();
    let before = run(&all(&pki), None);
    let mut reads = all(&pki);
    for name in ["password", "listener"] {
        reads.insert(
            name.to_owned(),
            Read::Unreadable("the API server answered 500".to_owned()),
        );
    }
    let after = run(&reads, before.document.as_ref());
    assert_eq!(after.document, before.document);
    assert_eq!(after.hash(), before.hash());
    assert!(after.unreadable());
    assert!(
        after
            .problems
            .iter()
            .all(|problem| problem.reason == Reason::SecretUnreadable)
    );
    let mut fewer = content();
    fewer.clients.clear();
    fewer.rules.retain(|rule| {
        rule.signing
            .as_ref()
            .is_none_or(|signing| signing.scheme == Scheme::HmacSha256)
    });
    let kept = resolve(
        &id(),
        &needs(&fewer),
        &reads,
        before.document.as_ref(),
        &settings(),
        in_year(2030),
    );
    assert!(!taken(&kept).contains_key("password"), "no longer needed");
    let nothing = run(&reads, None);
    assert!(!taken(&nothing).contains_key("listener"), "nothing stands");
}

/// The Secret of the listener, broken in every way.
fn broken_pairs(pki: &Pki, other: &Pki) -> Vec<Read> {
    [
        &[("tls.crt", &*pki.cert)][..],
        &[("tls.key", &*pki.key)],
        &[],
        &[("tls.crt", &*other.cert), ("tls.key", &*pki.key)],
        &[("tls.crt", CANARY), ("tls.key", &*pki.key)],
        &[("tls.crt", &*pki.cert), ("tls.key", CANARY)],
    ]
    .map(|data| secret("listener", data))
    .into()
}

#[test]
fn a_listeners_last_good_pair_stays_while_its_secret_is_broken_until_it_expires() {
    let (pki, other) = (pki(), pki());
    let whole = run(&all(&pki), None);
    for broken in broken_pairs(&pki, &other) {
        let mut reads = all(&pki);
        reads.insert("listener".to_owned(), broken);
        let resolve = |kept: Option<&document::Secrets>, now| {
            resolve(&id(), &needs(&content()), &reads, kept, &settings(), now)
        };
        let resolution = resolve(whole.document.as_ref(), in_year(2030));
        assert_eq!(resolution.document, whole.document, "new pods have it as well");
        let [problem] = resolution.problems.as_slice() else {
            panic!("{:?}", resolution.problems);
        };
        assert!(matches!(
            problem.reason,
            Reason::SecretInvalid | Reason::SecretKeyMissing
        ));
        let words = "; the last good certificate stays in force until 2035-01-02T00:00:00Z";
        assert!(problem.message.ends_with(words), "{}", problem.message);
        assert!(!problem.message.contains(CANARY), "{}", problem.message);
        assert!(!problem.listener, "everybody is served");
        let kept: Vec<_> = resolution.expiries.iter().filter(|expiry| expiry.kept).collect();
        assert!(
            matches!(*kept, [expiry] if expiry.place.part == Part::Listener),
            "{kept:?}"
        );
        // Once it is over, and where there was none.
        for (kept, now) in [
            (whole.document.as_ref(), in_year(2036)),
            (whole.document.as_ref(), "2035-01-02T00:00:00Z".parse().unwrap()),
            (None, in_year(2030)),
        ] {
            let resolution = resolve(kept, now);
            assert!(!taken(&resolution).contains_key("listener"), "{now}");
            assert!(resolution.problems.iter().any(|problem| problem.listener));
            assert!(!resolution.expiries.iter().any(|expiry| expiry.kept));
        }
    }
}

/// An old key elsewhere lets somebody out under a name.
#[test]
fn a_pair_that_also_signs_or_is_shown_to_a_destination_is_not_kept() {
    let (pki, other) = (pki(), pki());
    let mut shown = content();
    let tls = shown.rules.iter_mut().find_map(|rule| rule.upstream_tls.as_mut());
    tls.unwrap().client_certificate = Some("listener".to_owned());
    let mut signs = content();
    let rsa = signs.rules.iter_mut().find(|rule| rule.name == "rsa").unwrap();
    rsa.signing.as_mut().unwrap().secrets[0].name = "listener".to_owned();
    let mut good = all(&pki);
    let mut leaf = CertificateParams::new(vec!["proxy.example".to_owned()]).unwrap();
    leaf.not_after = rcgen::date_time_ymd(2035, 1, 2);
    let cert = leaf.self_signed(&KeyPair::from_pem(&pki.rsa).unwrap());
    let pair = [("tls.crt", &*cert.unwrap().pem()), ("tls.key", &*pki.rsa)];
    good.insert("listener".to_owned(), secret("listener", &pair));
    for content in [shown, signs] {
        let resolve = |reads: &BTreeMap<String, Read>, kept: Option<&document::Secrets>| {
            resolve(&id(), &needs(&content), reads, kept, &settings(), in_year(2030))
        };
        let whole = resolve(&good, None);
        assert!(whole.problems.is_empty(), "{:?}", whole.problems);
        for broken in broken_pairs(&pki, &other) {
            let mut reads = all(&pki);
            reads.insert("listener".to_owned(), broken);
            let resolution = resolve(&reads, whole.document.as_ref());
            assert!(!taken(&resolution).contains_key("listener"));
            assert!(resolution.problems.iter().any(|problem| problem.listener));
        }
    }
}

#[test]
fn what_does_not_fit_is_left_out() {
    let pki = pki();
    let mut reads = all(&pki);
    let many = pki.ca.repeat(900 * 1024 / pki.ca.len());
    reads.insert(
        "upstream-ca".to_owned(),
        secret("upstream-ca", &[("ca.crt", &many)]),
    );
    let resolution = run(&reads, None);
    assert_eq!(resolution.problems.len(), 1, "{:?}", resolution.problems);
    assert!(
        resolution.problems[0].message.contains("does not fit"),
        "{}",
        resolution.problems[0].message
    );
    assert!(!taken(&resolution).contains_key("upstream-ca"));
}
