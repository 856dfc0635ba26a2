//! What each failure is called, and what to do about it: one row a kind.
//!
//! Which error is which kind is told in [`super`].

use http::StatusCode;

use super::Kind;
use crate::server::reason::Row;

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
            Self::CertificateInvalid(flaw) => Row(
                "tls_certificate_invalid",
                BAD,
                CERTIFICATE,
                flaw.sentence(),
                "The destination has to replace its certificate; the proxy's log says more.",
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
            Self::RenegotiationAsked => Row(
                "tls_renegotiation_asked",
                BAD,
                "tls_protocol_error",
                "the destination wants another TLS handshake, mostly for a client certificate",
                "It has to ask in the first handshake, by a host or port of its own for what demands a certificate.",
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
