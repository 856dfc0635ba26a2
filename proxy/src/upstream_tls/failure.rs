//! Why TLS towards a destination did not come about: each cause has its own code, sentence and next step.
//!
//! It reads errors, it makes none. What is not told apart here cannot be told apart from outside either.

mod flaw;
mod rows;

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

pub use self::flaw::Flaw;
use super::verifier::SelfSigned;

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
    CertificateInvalid(Flaw),
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
    /// The destination wants another handshake behind the first one.
    RenegotiationAsked,
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
    pub const EXAMPLES: [Self; 20] = [
        Self::of(Kind::CertificateExpired),
        Self::of(Kind::CertificateNotYetValid),
        Self::of(Kind::CertificateWrongName),
        Self::of(Kind::CertificateUnknownIssuer),
        Self::of(Kind::CertificateSelfSigned),
        Self::of(Kind::CertificateRevoked),
        Self::of(Kind::CertificateBadSignature),
        Self::of(Kind::CertificateInvalid(Flaw::Other)),
        Self::of(Kind::VersionUnsupported),
        Self::of(Kind::NoCommonCipher),
        Self::of(Kind::NotTls),
        Self::of(Kind::Closed),
        Self::of(Kind::Timeout),
        Self::of(Kind::Protocol),
        Self::of(Kind::Alert),
        Self::of(Kind::ClientCertificateRequired),
        Self::of(Kind::ClientCertificateRefused),
        Self::of(Kind::RenegotiationAsked),
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
            Error::NoCertificatesPresented => Kind::CertificateInvalid(Flaw::Missing),
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
            // About the empty list of certificates that it got: Java says bad_certificate in every version.
            (
                A::BadCertificate
                | A::UnsupportedCertificate
                | A::CertificateUnknown
                | A::UnknownCA
                | A::AccessDenied,
                Met {
                    asked: true,
                    has_one: false,
                },
            ) => Kind::ClientCertificateRequired,
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
        E::Other(other) if other.0.is::<SelfSigned>() => Kind::CertificateSelfSigned,
        other => Kind::CertificateInvalid(Flaw::of(other)),
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
mod tests;
