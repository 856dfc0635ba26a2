//! Why TLS towards a destination did not come about: each cause has its own code, sentence and next step.
//!
//! It reads errors, it makes none. What is not told apart here cannot be told apart from outside either.

use std::io;
use std::time::Duration;

use http::StatusCode;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::verifier::SelfSigned;
use crate::server::reason::Row;

/// A failure, and the alert that said so, if one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub kind: Kind,
    /// The destination ended it with this alert (RFC 8446, 6).
    pub alert: Option<Alert>,
}

/// An alert's number and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its number in the TLS Alerts registry.
    pub id: u8,
    /// Its description there; empty for one that has none.
    pub name: &'static str,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The certificate, or one that it needs, has expired.
    CertificateExpired,
    /// The certificate is not valid yet.
    CertificateNotYetValid,
    /// The certificate is for other names.
    CertificateWrongName,
    /// No root that is trusted here leads to the certificate.
    CertificateUnknownIssuer,
    /// The certificate vouches for itself.
    CertificateSelfSigned,
    /// The certificate was revoked.
    CertificateRevoked,
    /// A signature is wrong: the certificate's, or the proof that the destination has its key.
    CertificateBadSignature,
    /// The certificate is refused for something else.
    CertificateInvalid,
    /// The destination speaks no version that may be spoken.
    VersionUnsupported,
    /// No cipher, group or signature scheme in common.
    NoCommonCipher,
    /// What answers does not speak TLS.
    NotTls,
    /// The destination closed the connection during the handshake.
    Closed,
    /// The handshake took too long.
    Timeout,
    /// The destination broke the protocol.
    Protocol,
    /// Another alert.
    Alert,
    /// The destination demands a client certificate, and the rule has none.
    ClientCertificateRequired,
    /// The destination does not take the rule's client certificate.
    ClientCertificateRefused,
    /// The rule's client certificate is missing or broken.
    ClientCertificateUnavailable,
    /// The roots that the rule names are missing or broken.
    RootsUnavailable,
}

/// What both sides did about client certificates by the time it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    /// The destination asked for one.
    pub(super) asked: bool,
    /// The rule has one.
    pub(super) has_one: bool,
}

impl Failure {
    /// One of each, for tests and docs.
    pub const EXAMPLES: [Self; 19] = [
        Self::of(Kind::CertificateExpired),
        Self::of(Kind::CertificateNotYetValid),
        Self::of(Kind::CertificateWrongName),
        Self::of(Kind::CertificateUnknownIssuer),
        Self::of(Kind::CertificateSelfSigned),
        Self::of(Kind::CertificateRevoked),
        Self::of(Kind::CertificateBadSignature),
        Self::of(Kind::CertificateInvalid),
        Self::of(Kind::VersionUnsupported),
        Self::of(Kind::NoCommonCipher),
        Self::of(Kind::NotTls),
        Self::of(Kind::Closed),
        Self::of(Kind::Timeout),
        Self::of(Kind::Protocol),
        Self::of(Kind::Alert),
        Self::of(Kind::ClientCertificateRequired),
        Self::of(Kind::ClientCertificateRefused),
        Self::of(Kind::ClientCertificateUnavailable),
        Self::of(Kind::RootsUnavailable),
    ];

    /// Without an alert.
    pub(super) const fn of(kind: Kind) -> Self {
        Self { kind, alert: None }
    }

    /// What an error of a connection means.
    pub(super) fn from_io(error: &io::Error, met: Met) -> Self {
        match error.get_ref().and_then(|source| source.downcast_ref::<Error>()) {
            Some(error) => Self::from_tls(error, met),
            None => Self::of(Kind::Closed),
        }
    }

    fn from_tls(error: &Error, met: Met) -> Self {
        Self::of(match error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::InvalidCertRevocationList(_) => Kind::RootsUnavailable,
            Error::AlertReceived(alert) => return Self::from_alert(*alert, met),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Kind::VersionUnsupported,
            Error::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
                | PeerIncompatible::NoEcPointFormatsInCommon,
            ) => Kind::NoCommonCipher,
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Kind::NotTls,
            _ => Kind::Protocol,
        })
    }

    fn from_alert(alert: AlertDescription, met: Met) -> Self {
        use AlertDescription as A;
        let kind = match (alert, met) {
            (A::ProtocolVersion, _) => Kind::VersionUnsupported,
            (A::CertificateRequired, _) => Kind::ClientCertificateRequired,
            // TLS 1.2 has no alert for a missing certificate; servers say this.
            (
                A::HandshakeFailure,
                Met {
                    asked: true,
                    has_one: false,
                },
            ) => Kind::ClientCertificateRequired,
            (
                A::HandshakeFailure,
                Met {
                    asked: true,
                    has_one: true,
                },
            ) => Kind::ClientCertificateRefused,
            (A::HandshakeFailure | A::InsufficientSecurity, _) => Kind::NoCommonCipher,
            (
                A::BadCertificate
                | A::UnsupportedCertificate
                | A::CertificateRevoked
                | A::CertificateExpired
                | A::CertificateUnknown
                | A::UnknownCA
                | A::AccessDenied,
                Met { has_one: true, .. },
            ) => Kind::ClientCertificateRefused,
            (_, _) => Kind::Alert,
        };
        Self {
            kind,
            alert: Some(Alert {
                id: u8::from(alert),
                name: name(alert),
            }),
        }
    }
}

impl Kind {
    /// One row: code, status, RFC 9209 error type, sentence, next step.
    pub(crate) const fn row(self) -> Row {
        const BAD: StatusCode = StatusCode::BAD_GATEWAY;
        const CERTIFICATE: &str = "tls_certificate_error";
        match self {
            Self::CertificateExpired => Row(
                "tls_certificate_expired",
                BAD,
                CERTIFICATE,
                "the destination's certificate has expired",
                "The destination has to renew its certificate.",
            ),
            Self::CertificateNotYetValid => Row(
                "tls_certificate_not_yet_valid",
                BAD,
                CERTIFICATE,
                "the destination's certificate is not valid yet",
                "Wait, or compare the clocks of the destination and of the node.",
            ),
            Self::CertificateWrongName => Row(
                "tls_certificate_wrong_name",
                BAD,
                CERTIFICATE,
                "the destination's certificate is for another name",
                "Ask for a name that stands in the certificate; the proxy's log lists them.",
            ),
            Self::CertificateUnknownIssuer => Row(
                "tls_certificate_unknown_issuer",
                BAD,
                CERTIFICATE,
                "no trusted root vouches for the destination's certificate",
                "Name the destination's CA in the rule's upstreamTLS.caRef, or have it send its intermediates.",
            ),
            Self::CertificateSelfSigned => Row(
                "tls_certificate_self_signed",
                BAD,
                CERTIFICATE,
                "the destination's certificate is signed by itself",
                "Use a certificate of a CA; a self-signed one without CA:TRUE can stand in upstreamTLS.caRef.",
            ),
            Self::CertificateRevoked => Row(
                "tls_certificate_revoked",
                BAD,
                CERTIFICATE,
                "the destination's certificate was revoked",
                "The destination has to replace its certificate.",
            ),
            Self::CertificateBadSignature => Row(
                "tls_certificate_bad_signature",
                BAD,
                CERTIFICATE,
                "a signature of the destination's certificate is wrong",
                "The destination has to repair its certificate or key; somebody in between looks like this too.",
            ),
            Self::CertificateInvalid => Row(
                "tls_certificate_invalid",
                BAD,
                CERTIFICATE,
                "the destination's certificate cannot be used",
                "The proxy's log says what is wrong with it.",
            ),
            Self::VersionUnsupported => Row(
                "tls_version_unsupported",
                BAD,
                "tls_protocol_error",
                "the destination speaks no TLS version that may be spoken",
                "TLS 1.2 and 1.3 are spoken, or what the rule's upstreamTLS.minVersion leaves of them.",
            ),
            Self::NoCommonCipher => Row(
                "tls_no_common_cipher",
                BAD,
                "tls_protocol_error",
                "there is no cipher in common with the destination",
                "The destination has to offer an AEAD cipher with forward secrecy (RFC 9325).",
            ),
            Self::NotTls => Row(
                "tls_not_spoken",
                BAD,
                "tls_protocol_error",
                "the destination does not speak TLS on this port",
                "Check the port; without upstreamTLS the rule sends plain HTTP.",
            ),
            Self::Closed => Row(
                "tls_closed",
                BAD,
                "connection_terminated",
                "the destination closed the connection during the TLS handshake",
                "Check that the port speaks TLS and serves this name; a middlebox looks like this too.",
            ),
            Self::Timeout => Row(
                "tls_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "connection_timeout",
                "the TLS handshake was not finished in time",
                "Check that the port speaks TLS; retry.",
            ),
            Self::Protocol => Row(
                "tls_protocol_error",
                BAD,
                "tls_protocol_error",
                "the destination broke the TLS protocol",
                "The proxy's log has the error; the destination has to be repaired.",
            ),
            Self::Alert => Row(
                "tls_alert_received",
                BAD,
                "tls_alert_received",
                "the destination ended the TLS handshake with an alert",
                "Proxy-Status and the proxy's log name the alert; the destination's log says why.",
            ),
            Self::ClientCertificateRequired => Row(
                "tls_client_certificate_required",
                BAD,
                "tls_alert_received",
                "the destination demands a client certificate",
                "Name one in the rule's upstreamTLS.clientCertificateRef.",
            ),
            Self::ClientCertificateRefused => Row(
                "tls_client_certificate_refused",
                BAD,
                "tls_alert_received",
                "the destination does not take the client certificate",
                "Check its validity and issuer with the destination's operator.",
            ),
            Self::ClientCertificateUnavailable => Row(
                "client_certificate_unavailable",
                StatusCode::INTERNAL_SERVER_ERROR,
                "proxy_configuration_error",
                "the client certificate of the rule cannot be used",
                "Check the Secret of upstreamTLS.clientCertificateRef: tls.crt and tls.key, which belong together.",
            ),
            Self::RootsUnavailable => Row(
                "roots_unavailable",
                StatusCode::INTERNAL_SERVER_ERROR,
                "proxy_configuration_error",
                "the roots of the rule cannot be used",
                "Check the Secret of upstreamTLS.caRef: certificates in ca.crt, and in ca.crl lists that have not expired.",
            ),
        }
    }

    /// Its code, in metrics.
    pub(crate) const fn code(self) -> &'static str {
        self.row().0
    }
}

fn certificate(error: &CertificateError) -> Kind {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => Kind::CertificateExpired,
        E::NotValidYet | E::NotValidYetContext { .. } => Kind::CertificateNotYetValid,
        E::NotValidForName | E::NotValidForNameContext { .. } => Kind::CertificateWrongName,
        E::UnknownIssuer => Kind::CertificateUnknownIssuer,
        E::Revoked => Kind::CertificateRevoked,
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => Kind::RootsUnavailable,
        E::BadSignature => Kind::CertificateBadSignature,
        E::Other(other) if other.0.downcast_ref::<SelfSigned>().is_some() => Kind::CertificateSelfSigned,
        _ => Kind::CertificateInvalid,
    }
}

/// The description in the TLS Alerts registry.
const fn name(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::CloseNotify => "close_notify",
        A::UnexpectedMessage => "unexpected_message",
        A::BadRecordMac => "bad_record_mac",
        A::RecordOverflow => "record_overflow",
        A::HandshakeFailure => "handshake_failure",
        A::BadCertificate => "bad_certificate",
        A::UnsupportedCertificate => "unsupported_certificate",
        A::CertificateRevoked => "certificate_revoked",
        A::CertificateExpired => "certificate_expired",
        A::CertificateUnknown => "certificate_unknown",
        A::IllegalParameter => "illegal_parameter",
        A::UnknownCA => "unknown_ca",
        A::AccessDenied => "access_denied",
        A::DecodeError => "decode_error",
        A::DecryptError => "decrypt_error",
        A::ProtocolVersion => "protocol_version",
        A::InsufficientSecurity => "insufficient_security",
        A::InternalError => "internal_error",
        A::UserCanceled => "user_canceled",
        A::MissingExtension => "missing_extension",
        A::UnsupportedExtension => "unsupported_extension",
        A::UnrecognisedName => "unrecognized_name",
        A::CertificateRequired => "certificate_required",
        A::NoApplicationProtocol => "no_application_protocol",
        _ => "",
    }
}

/// A failure with what the log says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What failed.
    pub failure: Failure,
    /// More, for the log: never key material.
    pub detail: Box<str>,
}

impl Failed {
    pub(super) fn new(kind: Kind, detail: impl Into<Box<str>>) -> Self {
        Self {
            failure: Failure::of(kind),
            detail: detail.into(),
        }
    }

    pub(super) fn timeout(after: Duration) -> Self {
        Self::new(
            Kind::Timeout,
            format!("no TLS session after {} ms", after.as_millis()),
        )
    }
}

#[cfg(test)]
mod tests {
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
}
