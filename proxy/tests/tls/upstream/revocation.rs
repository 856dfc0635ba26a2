//! Revocation lists: one that has ended, or is none, revokes nothing, so it must not stand for one.

use egressway_core::wire::document::Secret;
use rustls::HandshakeKind;

use super::{asked, assert_refused, once, proxy, tls};
use crate::pki::{BOTH, Ca, HOST, TlsServer, documents, rule, secret, server};
use crate::support::status;

/// As a file is in the middle of being written, or holds something else.
const NO_LISTS: &[&str] = &[
    "",
    "\n",
    "no PEM\n",
    "-----BEGIN X509 CRL-----\nMIIB",
    "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
];

fn trusted(ca: &Ca, lists: &str) -> (&'static str, Secret) {
    ("ca", secret(&[("ca.crt", ca.pem()), ("ca.crl", lists)]))
}

#[tokio::test]
async fn a_list_that_is_none_refuses_rather_than_revokes_nothing() {
    let ca = Ca::new("ca");
    let good = ca.issue(HOST);
    let origin = TlsServer::new(server(&good, None, BOTH)).await;
    // A certificate in place of the list, too.
    for lists in NO_LISTS.iter().copied().chain([ca.pem()]) {
        let documents = documents(rule(Some(tls()), None), &[trusted(&ca, lists)]);
        let problems = documents.secrets.problems().join("\n");
        assert!(problems.contains("Secret ca: ca.crl"), "{lists:?}: {problems}");
        let proxy = proxy(tls(), &[trusted(&ca, lists)]).await;
        assert_refused(&asked(&proxy, &origin).await, "roots_unavailable", 500);
        proxy.logged(&["roots_unavailable", "ca.crl"]).await;
    }
}

#[tokio::test]
async fn a_list_that_breaks_leaves_the_last_good_one_in_force() {
    let ca = Ca::new("ca");
    let (good, revoked) = (ca.issue(HOST), ca.issue(HOST));
    let list = ca.revoke(&revoked);
    let valid = TlsServer::new(server(&good, None, BOTH)).await;
    let origin = TlsServer::new(server(&revoked, None, BOTH)).await;
    let proxy = proxy(tls(), &[trusted(&ca, &list)]).await;
    assert_refused(&asked(&proxy, &origin).await, "tls_certificate_revoked", 502);
    for lists in NO_LISTS {
        proxy
            .state
            .set_in_force(documents(rule(Some(tls()), None), &[trusted(&ca, lists)]));
        assert_refused(&asked(&proxy, &origin).await, "tls_certificate_revoked", 502);
        assert_eq!(status(&asked(&proxy, &valid).await), 200, "{lists:?}");
    }
    // Taken away on purpose, it is gone.
    let without = ("ca", secret(&[("ca.crt", ca.pem())]));
    proxy
        .state
        .set_in_force(documents(rule(Some(tls()), None), &[without]));
    assert_eq!(status(&asked(&proxy, &origin).await), 200);
}

#[tokio::test]
async fn a_revocation_list_past_its_end_refuses_all() {
    let ca = Ca::new("ca");
    let (good, revoked) = (ca.issue(HOST), ca.issue("other.example"));
    let origin = TlsServer::new(server(&good, None, BOTH)).await;
    for (end, code) in [(2099, None), (2021, Some("roots_unavailable"))] {
        let list = ca.revoke_until(&revoked, end);
        let proxy = proxy(tls(), &[trusted(&ca, &list)]).await;
        match code {
            None => assert_eq!(once(&proxy, &origin).await, HandshakeKind::Full),
            Some(code) => {
                let answer = asked(&proxy, &origin).await;
                assert_refused(&answer, code, 500);
            }
        }
    }
}
