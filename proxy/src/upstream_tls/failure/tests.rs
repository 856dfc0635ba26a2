//! Which failure is called what.

use super::*;

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
