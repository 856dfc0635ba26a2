//! What is wrong with a certificate beside what has a code of its own: one sentence each.

use rustls::CertificateError;

use crate::upstream_tls::verifier::Weak;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// There is none.
    Missing,
    /// It cannot be read.
    Encoding,
    /// It is of X.509 version 1 or 2.
    Version,
    /// An extension that must be understood is not.
    CriticalExtension,
    /// Its extended key usage does not list servers.
    Purpose,
    /// It is a CA's own.
    IsCa,
    /// A certificate in the chain that is no CA's.
    IssuerIsNoCa,
    /// A CA in the chain is limited to other names.
    NameConstraint,
    /// The chain is longer than a CA in it permits, or than is looked at.
    ChainTooLong,
    /// An RSA key of a length that is not taken.
    RsaKey,
    /// A signature with SHA-1.
    Sha1,
    /// A signature with another algorithm that is not taken.
    Algorithm,
    /// No list says whether it was revoked.
    RevocationUnknown,
    /// Anything else.
    Other,
}

impl Flaw {
    /// What the TLS library says of it.
    pub(super) fn of(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::BadEncoding => Self::Encoding,
            E::UnhandledCriticalExtension => Self::CriticalExtension,
            E::UnknownRevocationStatus => Self::RevocationUnknown,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::Purpose,
            E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::Algorithm,
            E::Other(other) => match (other.0.downcast_ref(), other.0.downcast_ref()) {
                (Some(Weak::RsaKey { .. }), _) => Self::RsaKey,
                (Some(Weak::Sha1Signature), _) => Self::Sha1,
                (None, Some(error)) => Self::found(error),
                (None, None) => Self::Other,
            },
            _ => Self::Other,
        }
    }

    /// What it passes on as the verifier underneath found it.
    fn found(error: &webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::UnsupportedCertVersion => Self::Version,
            E::UnsupportedCriticalExtension => Self::CriticalExtension,
            E::CaUsedAsEndEntity => Self::IsCa,
            E::EndEntityUsedAsCa => Self::IssuerIsNoCa,
            E::NameConstraintViolation => Self::NameConstraint,
            E::PathLenConstraintViolated | E::MaximumPathDepthExceeded => Self::ChainTooLong,
            E::ExtensionValueInvalid
            | E::MalformedExtensions
            | E::MalformedDnsIdentifier
            | E::MalformedNameConstraint
            | E::InvalidSerialNumber => Self::Encoding,
            _ => Self::Other,
        }
    }

    /// As the end of a sentence about the target.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Missing => "the destination shows no certificate",
            Self::Encoding => "the destination's certificate is malformed",
            Self::Version => "the destination's certificate is not of X.509 version 3",
            Self::CriticalExtension => {
                "the destination's certificate has a critical extension that is not understood here"
            }
            Self::Purpose => "the destination's certificate is not for servers (extended key usage)",
            Self::IsCa => "the destination shows the certificate of a CA as its own",
            Self::IssuerIsNoCa => "the destination's certificate is signed by one that is no CA's",
            Self::NameConstraint => "the CA of the destination's certificate may not vouch for this name",
            Self::ChainTooLong => "the chain of the destination's certificate is too long",
            Self::RsaKey => "the destination's chain has an RSA key that is not of 2048 to 8192 bits",
            Self::Sha1 => "the destination's certificate is signed with SHA-1",
            Self::Algorithm => "the destination's certificate is signed with an algorithm that is not taken",
            Self::RevocationUnknown => "no list says whether the destination's certificate was revoked",
            Self::Other => "the destination's certificate cannot be used",
        }
    }
}
