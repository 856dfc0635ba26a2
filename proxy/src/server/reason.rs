//! Every reason why a request is not served: one code, one status, one RFC 9209 error type, one next step.
//!
//! A denial ([`Deny`]) is a verdict of the policy and lives in core; a [`Fault`] is everything else. The codes feed the
//! reply, the log and the metrics alike, and `docs/reasons.md` lists exactly them. Nothing here writes to a socket.

mod rows;

use egressway_core::acl::Deny;
use egressway_core::acl::target::Malformed;
use egressway_core::wire::report::Phase;
use http::StatusCode;

use crate::upstream_tls::Failure;
use crate::upstream_tls::failure::Alert;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The policy or the SSRF floor decided.
    Deny(Deny),
    /// The request, this pod or the way to the destination is at fault.
    Fault(Fault),
}

/// Why a request that no rule refuses is not served all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No verified egress address yet.
    NotReady,
    /// A quorum saw an egress address that nobody promised.
    Quarantined,
    /// The pod terminates or its cell drains.
    Draining,
    /// No policy is in force.
    NoPolicy,
    /// The limit of connections is reached.
    TooManyConnections,
    /// The limit of open tunnels and forwarded requests is reached.
    TooManyTunnels,
    /// The same to this destination.
    DestinationLimit,
    /// The limit of new requests a second is reached.
    RateLimited,
    /// The same for this client.
    ClientRateLimited,
    /// The same for requests from this address in which no client was recognised.
    UnidentifiedRateLimited,
    /// The limit of this client's connections is reached.
    ClientConnections,
    /// Its place was needed before it had shown whose it is.
    CrowdedOut,
    /// The process holds as much as its memory allows.
    MemoryFull,
    /// The message cannot be framed or breaks HTTP's grammar; the text says where.
    MalformedRequest(&'static str),
    /// The request line alone is longer than a head may be.
    TargetTooLong,
    /// The head is too long or has too many fields.
    HeadTooLarge,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The client stopped sending a body before its end.
    BodyTimeout,
    /// The client sends a body that has to be held more slowly than it may.
    BodyTooSlow,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    VersionUnsupported,
    /// A transfer coding other than `chunked`.
    TransferCodingUnsupported,
    /// An expectation other than `100-continue`.
    ExpectationUnsupported,
    /// Longer than any method that there is.
    MethodTooLong,
    /// TRACE through a proxy would send credentials back.
    MethodUnsupported,
    /// The target is not `host:port` in one unambiguous spelling.
    MalformedTarget(Malformed),
    /// A scheme other than `http` in the request target.
    SchemeUnsupported,
    /// A request for a server, not for a proxy.
    NotAProxyRequest,
    /// The name does not exist or has no addresses.
    DnsNotFound,
    /// The resolvers answered with an error, or not at all.
    DnsFailed,
    /// The resolvers did not answer in time.
    DnsTimeout,
    /// The destination refused the connection.
    ConnectionRefused,
    /// The destination did not answer in time.
    ConnectionTimeout,
    /// There is no route to the destination.
    DestinationUnreachable,
    /// The connection failed in another way.
    ConnectionFailed,
    /// The origin's answer cannot be framed or breaks HTTP's grammar; the text says where, for the log.
    UpstreamMalformed(&'static str),
    /// The origin closed the connection before its answer was complete.
    UpstreamClosed,
    /// The origin did not answer in time.
    UpstreamTimeout,
    /// The origin's answer has a longer body than may pass.
    ResponseTooLarge,
    /// The key that has to sign the request is missing or broken.
    SigningKeyUnavailable,
    /// The body has to be signed and is longer than what is held in memory for that.
    SignedBodyTooLarge,
    /// The memory for bodies that have to be signed is taken.
    SigningBusy,
    /// TLS towards the origin did not come about, or broke before an answer.
    Tls(Failure),
}

impl Fault {
    /// One of each, for tests and docs; those of TLS are [`Failure::EXAMPLES`].
    pub const EXAMPLES: [Self; 41] = [
        Self::NotReady,
        Self::Quarantined,
        Self::Draining,
        Self::NoPolicy,
        Self::TooManyConnections,
        Self::TooManyTunnels,
        Self::DestinationLimit,
        Self::RateLimited,
        Self::ClientRateLimited,
        Self::UnidentifiedRateLimited,
        Self::ClientConnections,
        Self::CrowdedOut,
        Self::MemoryFull,
        Self::MalformedRequest("example"),
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::BodyTooSlow,
        Self::VersionUnsupported,
        Self::TransferCodingUnsupported,
        Self::ExpectationUnsupported,
        Self::MethodTooLong,
        Self::MethodUnsupported,
        Self::MalformedTarget(Malformed::EmptyHost),
        Self::SchemeUnsupported,
        Self::NotAProxyRequest,
        Self::DnsNotFound,
        Self::DnsFailed,
        Self::DnsTimeout,
        Self::ConnectionRefused,
        Self::ConnectionTimeout,
        Self::DestinationUnreachable,
        Self::ConnectionFailed,
        Self::UpstreamMalformed("example"),
        Self::UpstreamClosed,
        Self::UpstreamTimeout,
        Self::ResponseTooLarge,
        Self::SigningKeyUnavailable,
        Self::SignedBodyTooLarge,
        Self::SigningBusy,
    ];

    /// The same fault of an answer, which is read by what reads requests: there it is the origin's.
    #[must_use]
    pub const fn of_answer(self) -> Self {
        match self {
            Self::MalformedRequest(what) => Self::UpstreamMalformed(what),
            Self::TransferCodingUnsupported => {
                Self::UpstreamMalformed("Transfer-Encoding is something else than chunked")
            }
            Self::HeadTooLarge => Self::UpstreamMalformed("the head has too many fields or is too long"),
            other => other,
        }
    }

    /// Whether the way to the destination or the destination itself is at fault.
    #[must_use]
    pub const fn is_upstream(self) -> bool {
        matches!(
            self,
            Self::DnsNotFound
                | Self::DnsFailed
                | Self::DnsTimeout
                | Self::ConnectionRefused
                | Self::ConnectionTimeout
                | Self::DestinationUnreachable
                | Self::ConnectionFailed
                | Self::UpstreamMalformed(_)
                | Self::UpstreamClosed
                | Self::UpstreamTimeout
                | Self::ResponseTooLarge
                | Self::Tls(_)
        )
    }
}

/// Code, status, RFC 9209 error type, sentence, next step.
pub(crate) struct Row(
    pub(crate) &'static str,
    pub(crate) StatusCode,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

impl Reason {
    /// The stable code: metric label, log field, `X-Egressway-Reason`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Deny(deny) => deny.code(),
            Self::Fault(fault) => fault.row().0,
        }
    }

    /// The status of the reply.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            // Only a challenge that a client can answer is a 407; everything else about policy is a 403.
            Self::Deny(Deny::CredentialsMissing | Deny::CredentialsInvalid) => {
                StatusCode::PROXY_AUTHENTICATION_REQUIRED
            }
            Self::Deny(_) => StatusCode::FORBIDDEN,
            Self::Fault(fault) => fault.row().1,
        }
    }

    /// The RFC 9209 error type.
    #[must_use]
    pub const fn proxy_status(&self) -> &'static str {
        match self {
            Self::Deny(deny) => deny.proxy_status(),
            Self::Fault(Fault::Tls(Failure { alert: Some(_), .. })) => "tls_alert_received",
            Self::Fault(fault) => fault.row().2,
        }
    }

    /// The TLS alert with which the destination said so.
    #[must_use]
    pub const fn alert(&self) -> Option<Alert> {
        match self {
            Self::Fault(Fault::Tls(failure)) => failure.alert,
            Self::Deny(_) | Self::Fault(_) => None,
        }
    }

    /// What happened, as the end of a sentence about the target.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Deny(deny) => deny.to_string(),
            Self::Fault(fault) => fault.row().3.to_owned(),
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Deny(Deny::NoRuleMatches { .. }) => {
                "Add the host and port to an Allow rule of the EgressPolicy, or ask its owner to. A rule with http is for plain requests of its methods and paths alone."
            }
            Self::Deny(Deny::DeniedByRule { .. } | Deny::AddressDeniedByRule { .. }) => {
                "A Deny rule beats every Allow rule; ask the owner of the EgressPolicy."
            }
            Self::Deny(Deny::PolicySuspended) => {
                "Ask the owner of the EgressPolicy why spec.suspend is true."
            }
            Self::Deny(Deny::PolicyClosed) => {
                "Look at the condition Accepted of the EgressPolicy: it says what its owner or the platform team can do."
            }
            Self::Deny(Deny::NameInternal | Deny::AddressInternal) => {
                "Reach in-cluster services directly (NO_PROXY); spec.caps.internalDestinations of the EgressPool opens other private networks."
            }
            Self::Deny(Deny::AddressForbidden) => "No policy can open this address.",
            Self::Deny(Deny::DeniedByPool) => {
                "Ask the platform team to open it in spec.caps of the EgressPool."
            }
            Self::Deny(Deny::PathAmbiguous) => {
                "Send the path without dot segments, empty segments and parameters (;), and encode nothing that decodes to a slash, a dot segment or a control character."
            }
            Self::Deny(Deny::TunnelUnsigned { .. }) => {
                "Send GET or POST http://host/path to the proxy instead of CONNECT or an Upgrade (many clients have a setting for it), or have the rule's tunnels set to Allow."
            }
            Self::Deny(Deny::TlsNotOffered { .. }) => {
                "Give the rule upstreamTLS (when: OnRequest), or leave X-Egressway-TLS out; in a tunnel the client makes TLS itself."
            }
            Self::Deny(Deny::ClientUnknown) => {
                "Ask the owner of the EgressPolicy to name this client in spec.clients, or present a credential."
            }
            Self::Deny(Deny::CredentialsMissing | Deny::CredentialsInvalid) => {
                "Put the credential of a client of the EgressPolicy into the proxy URL: http://user:password@host:4750."
            }
            Self::Fault(fault) => fault.row().4,
        }
    }

    /// Whether it is worth coming back soon: the pod's state is at fault, not the request.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Fault(
                Fault::NotReady
                    | Fault::Quarantined
                    | Fault::Draining
                    | Fault::NoPolicy
                    | Fault::TooManyConnections
                    | Fault::SigningBusy
                    | Fault::TooManyTunnels
                    | Fault::DestinationLimit
                    | Fault::RateLimited
                    | Fault::ClientRateLimited
                    | Fault::UnidentifiedRateLimited
                    | Fault::ClientConnections
                    | Fault::CrowdedOut
                    | Fault::MemoryFull
            )
        )
    }
}

/// Why a connection ended before it could bring a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The PROXY protocol header of a listed source is missing or malformed.
    ProxyProtocol,
    /// The certificate of the listener is missing or broken.
    TlsUnavailable,
    /// The TLS handshake failed.
    TlsHandshake,
    /// It did not come that far in time.
    Timeout,
    /// Its place was needed before it had shown whose it is.
    CrowdedOut,
}

impl Unopened {
    /// One of each, for tests and docs.
    pub const ALL: [Self; 5] = [
        Self::ProxyProtocol,
        Self::TlsUnavailable,
        Self::TlsHandshake,
        Self::Timeout,
        Self::CrowdedOut,
    ];

    /// The stable code: metric label and log field.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ProxyProtocol => "proxy_protocol_malformed",
            Self::TlsUnavailable => "tls_unavailable",
            Self::TlsHandshake => "tls_handshake_failed",
            Self::Timeout => "opening_timeout",
            Self::CrowdedOut => "crowded_out",
        }
    }
}

impl From<Deny> for Reason {
    fn from(deny: Deny) -> Self {
        Self::Deny(deny)
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Phase> for Fault {
    /// Why a pod in this phase refuses.
    fn from(phase: Phase) -> Self {
        match phase {
            // A pod that serves refuses nothing; whoever asks has seen the phase move in between.
            Phase::Starting | Phase::Serving => Self::NotReady,
            Phase::Quarantined => Self::Quarantined,
            Phase::Draining => Self::Draining,
        }
    }
}

#[cfg(test)]
mod tests;
