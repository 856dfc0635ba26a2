//! Which failure is called what.

use std::sync::Arc;

use rustls::OtherError;

use super::*;
use crate::upstream_tls::verifier::Weak;

/// Whoever reads no more than the answer knows what is wrong with the certificate.
#[test]
fn each_fault_of_a_certificate_is_told() {
    use CertificateError as E;
    let other = |error: Arc<dyn std::error::Error + Send + Sync>| E::Other(OtherError(error));
    let webpki = |error: webpki::Error| other(Arc::new(error));
    for (error, code, part) in [
        (E::Expired, "tls_certificate_expired", "has expired"),
        (E::NotValidYet, "tls_certificate_not_yet_valid", "not valid yet"),
        (E::NotValidForName, "tls_certificate_wrong_name", "another name"),
        (
            E::UnknownIssuer,
            "tls_certificate_unknown_issuer",
            "no trusted root",
        ),
        (E::Revoked, "tls_certificate_revoked", "was revoked"),
        (E::BadSignature, "tls_certificate_bad_signature", "signature"),
        (E::ExpiredRevocationList, "roots_unavailable", "roots"),
        (
            other(Arc::new(SelfSigned)),
            "tls_certificate_self_signed",
            "signed by itself",
        ),
        (E::BadEncoding, "tls_certificate_invalid", "malformed"),
        (
            E::UnhandledCriticalExtension,
            "tls_certificate_invalid",
            "critical extension",
        ),
        (
            E::UnknownRevocationStatus,
            "tls_certificate_invalid",
            "whether the destination's certificate was revoked",
        ),
        (E::InvalidPurpose, "tls_certificate_invalid", "not for servers"),
        (
            other(Arc::new(Weak::RsaKey { bits: 1024 })),
            "tls_certificate_invalid",
            "RSA key",
        ),
        (
            other(Arc::new(Weak::Sha1Signature)),
            "tls_certificate_invalid",
            "SHA-1",
        ),
        (
            webpki(webpki::Error::UnsupportedCertVersion),
            "tls_certificate_invalid",
            "X.509 version 3",
        ),
        (
            webpki(webpki::Error::UnsupportedCriticalExtension),
            "tls_certificate_invalid",
            "critical extension",
        ),
        (
            webpki(webpki::Error::CaUsedAsEndEntity),
            "tls_certificate_invalid",
            "certificate of a CA",
        ),
        (
            webpki(webpki::Error::EndEntityUsedAsCa),
            "tls_certificate_invalid",
            "no CA's",
        ),
        (
            webpki(webpki::Error::NameConstraintViolation),
            "tls_certificate_invalid",
            "may not vouch",
        ),
        (
            webpki(webpki::Error::PathLenConstraintViolated),
            "tls_certificate_invalid",
            "too long",
        ),
        (
            webpki(webpki::Error::MalformedExtensions),
            "tls_certificate_invalid",
            "malformed",
        ),
        (
            E::ApplicationVerificationFailure,
            "tls_certificate_invalid",
            "cannot be used",
        ),
    ] {
        let told = certificate(&error).row();
        assert!(
            told.0 == code && told.3.contains(part),
            "{error:?}: {} {}",
            told.0,
            told.3
        );
    }
    let none = Failure::from_tls(&Error::NoCertificatesPresented, Met::default());
    assert!(none.kind.row().3.contains("no certificate"));
}

#[test]
fn alerts_mean_what_both_sides_did_before() {
    use AlertDescription as A;
    let met = |asked, has_one| Met { asked, has_one };
    for (alert, met, expected) in [
        (A::ProtocolVersion, met(false, false), Kind::VersionUnsupported),
        (A::HandshakeFailure, met(false, false), Kind::NoCommonCipher),
        (A::HandshakeFailure, met(false, true), Kind::NoCommonCipher),
        (
            A::HandshakeFailure,
            met(true, false),
            Kind::ClientCertificateRequired,
        ),
        (
            A::HandshakeFailure,
            met(true, true),
            Kind::ClientCertificateRefused,
        ),
        (
            A::CertificateRequired,
            met(true, false),
            Kind::ClientCertificateRequired,
        ),
        // Java's servers say so of a chain that is empty.
        (
            A::BadCertificate,
            met(true, false),
            Kind::ClientCertificateRequired,
        ),
        (A::AccessDenied, met(true, false), Kind::ClientCertificateRequired),
        (A::BadCertificate, met(false, false), Kind::Alert),
        (A::UnknownCA, met(true, true), Kind::ClientCertificateRefused),
        (A::UnknownCA, met(false, false), Kind::Alert),
        (A::UnrecognisedName, met(false, false), Kind::Alert),
        (A::InsufficientSecurity, met(false, false), Kind::NoCommonCipher),
    ] {
        let failure = Failure::from_alert(alert, met);
        assert_eq!(failure.kind, expected, "{alert:?} {met:?}");
        assert_eq!(failure.alert.unwrap().id, u8::from(alert));
    }
}

#[test]
fn what_is_no_tls_error_is_a_connection_that_ended() {
    let error = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(Failure::from_io(&error, Met::default()).kind, Kind::Closed);
    let error = io::Error::new(
        io::ErrorKind::InvalidData,
        Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
    );
    assert_eq!(
        Failure::from_io(&error, Met::default()).kind,
        Kind::VersionUnsupported
    );
}
