//! Every reason why a request is not served: one code, one status, one RFC 9209 error type, one next step.
//!
//! A denial ([`Deny`]) is a verdict of the policy and lives in core; a [`Fault`] is everything else. The codes feed the
//! reply, the log and the metrics alike, and `docs/reasons.md` lists exactly them. Nothing here writes to a socket.

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
    /// The origin's answer cannot be framed or breaks HTTP's grammar.
    UpstreamMalformed,
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
    pub const EXAMPLES: [Self; 36] = [
        Self::NotReady,
        Self::Quarantined,
        Self::Draining,
        Self::NoPolicy,
        Self::TooManyConnections,
        Self::TooManyTunnels,
        Self::DestinationLimit,
        Self::RateLimited,
        Self::ClientRateLimited,
        Self::MalformedRequest("example"),
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::BodyTimeout,
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
        Self::UpstreamMalformed,
        Self::UpstreamClosed,
        Self::UpstreamTimeout,
        Self::ResponseTooLarge,
        Self::SigningKeyUnavailable,
        Self::SignedBodyTooLarge,
        Self::SigningBusy,
    ];

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
                | Self::UpstreamMalformed
                | Self::UpstreamClosed
                | Self::UpstreamTimeout
                | Self::ResponseTooLarge
                | Self::Tls(_)
        )
    }

    /// One row: code, status, RFC 9209 error type, sentence, next step.
    const fn row(self) -> Row {
        match self {
            Self::NotReady => Row(
                "not_ready",
                StatusCode::SERVICE_UNAVAILABLE,
                "proxy_internal_response",
                "this pod is starting",
                "Retry; another pod of the fleet may serve already.",
            ),
            Self::Quarantined => Row(
                "quarantined",
                StatusCode::SERVICE_UNAVAILABLE,
                "proxy_internal_response",
                "this pod leaves from an address that nobody promised",
                "Retry; another pod may serve. Ask the platform team to look at the pool's status.",
            ),
            Self::Draining => Row(
                "draining",
                StatusCode::SERVICE_UNAVAILABLE,
                "proxy_internal_response",
                "this pod is draining",
                "Retry over a new connection; another pod serves.",
            ),
            Self::NoPolicy => Row(
                "no_policy",
                StatusCode::SERVICE_UNAVAILABLE,
                "proxy_configuration_error",
                "no policy is in force",
                "Look at the conditions of the EgressPolicy.",
            ),
            Self::TooManyConnections => Row(
                "too_many_connections",
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                "this pod has as many connections as it takes",
                "Retry later, close idle connections, or raise the fleet's replicas.",
            ),
            Self::TooManyTunnels => Row(
                "too_many_tunnels",
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                "this pod has as many open tunnels and requests as limits.tunnels lets it have",
                "Retry later, or have limits.tunnels of the EgressPolicy or the fleet's replicas raised.",
            ),
            Self::DestinationLimit => Row(
                "destination_limit",
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                "this pod has as many connections to the destination as limits.tunnelsPerDestination lets it have",
                "Retry later, or have limits.tunnelsPerDestination of the EgressPolicy raised.",
            ),
            Self::RateLimited => Row(
                "rate_limited",
                StatusCode::TOO_MANY_REQUESTS,
                "http_request_denied",
                "this pod takes no more requests a second than limits.requestsPerSecond",
                "Retry later, or have limits.requestsPerSecond of the EgressPolicy or the fleet's replicas raised.",
            ),
            Self::ClientRateLimited => Row(
                "client_rate_limited",
                StatusCode::TOO_MANY_REQUESTS,
                "http_request_denied",
                "this client sends more requests a second than limits.clientRequestsPerSecond",
                "Send more slowly, or have limits.clientRequestsPerSecond of the EgressPolicy raised.",
            ),
            Self::MalformedRequest(what) => Row(
                "malformed_request",
                StatusCode::BAD_REQUEST,
                "http_request_error",
                what,
                "The message breaks HTTP/1.1's grammar (RFC 9112); the client has to be repaired.",
            ),
            Self::TargetTooLong => Row(
                "target_too_long",
                StatusCode::URI_TOO_LONG,
                "http_request_error",
                "the request line is longer than limits.headBytes",
                "Send a shorter URL, its data in a body, or have limits.headBytes of the EgressPolicy raised.",
            ),
            Self::HeadTooLarge => Row(
                "head_too_large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "http_request_error",
                "the head is longer than limits.headBytes or has more than 100 fields",
                "Send fewer or shorter header fields.",
            ),
            Self::HeadTimeout => Row(
                "head_timeout",
                StatusCode::REQUEST_TIMEOUT,
                "http_request_error",
                "the head did not arrive in time",
                "Send the whole head at once; timeouts.head of the EgressPolicy says how long it may take.",
            ),
            Self::BodyTimeout => Row(
                "body_timeout",
                StatusCode::REQUEST_TIMEOUT,
                "http_request_error",
                "the client stopped sending the body before its end",
                "Send as much as Content-Length says, without pauses longer than timeouts.idle of the EgressPolicy.",
            ),
            Self::VersionUnsupported => Row(
                "version_unsupported",
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "http_request_error",
                "only HTTP/1.0 and HTTP/1.1 are spoken here",
                "Speak HTTP/1.1 to the proxy; inside a CONNECT tunnel every protocol passes.",
            ),
            Self::TransferCodingUnsupported => Row(
                "transfer_coding_unsupported",
                StatusCode::NOT_IMPLEMENTED,
                "http_request_error",
                "the only transfer coding is chunked",
                "Send Transfer-Encoding: chunked, or a Content-Length.",
            ),
            Self::ExpectationUnsupported => Row(
                "expectation_unsupported",
                StatusCode::EXPECTATION_FAILED,
                "http_request_error",
                "the only expectation is 100-continue",
                "Send Expect: 100-continue, or no Expect.",
            ),
            Self::MethodTooLong => Row(
                "method_too_long",
                StatusCode::NOT_IMPLEMENTED,
                "http_request_error",
                "the method is longer than 32 bytes",
                "Send a method that is registered (RFC 9110, 9); case counts.",
            ),
            Self::MethodUnsupported => Row(
                "method_unsupported",
                StatusCode::METHOD_NOT_ALLOWED,
                "http_request_denied",
                "TRACE is not forwarded",
                "Use another method, or a CONNECT tunnel.",
            ),
            Self::MalformedTarget(what) => Row(
                "malformed_target",
                StatusCode::BAD_REQUEST,
                "http_request_error",
                malformed(what),
                "Write host:port; addresses as dotted quads or as IPv6 in brackets.",
            ),
            Self::SchemeUnsupported => Row(
                "scheme_unsupported",
                StatusCode::BAD_REQUEST,
                "http_request_error",
                "only http:// is forwarded; use CONNECT for https",
                "Send CONNECT host:443 and speak TLS inside; HTTPS_PROXY makes most clients do so.",
            ),
            Self::NotAProxyRequest => Row(
                "not_a_proxy_request",
                StatusCode::BAD_REQUEST,
                "http_request_error",
                "this is a proxy, the request is for a server",
                "Send CONNECT host:port, or a target that begins with http://.",
            ),
            Self::DnsNotFound => Row(
                "dns_not_found",
                StatusCode::BAD_GATEWAY,
                "dns_error",
                "the name has no address",
                "Check the spelling; names are absolute, search domains do not apply.",
            ),
            Self::DnsFailed => Row(
                "dns_failed",
                StatusCode::BAD_GATEWAY,
                "dns_error",
                "the name cannot be resolved",
                "Retry; if it lasts, look at the name's servers and at the node's resolvers.",
            ),
            Self::DnsTimeout => Row(
                "dns_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "dns_timeout",
                "the name was not resolved in time",
                "Retry; if it lasts, look at the name's servers and at the node's resolvers.",
            ),
            Self::ConnectionRefused => Row(
                "connection_refused",
                StatusCode::BAD_GATEWAY,
                "connection_refused",
                "the destination refused the connection",
                "Check the port; nothing listens there, or a firewall rejects.",
            ),
            Self::ConnectionTimeout => Row(
                "connection_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "connection_timeout",
                "the destination did not answer in time",
                "Check that the destination allows the policy's egress IPs; a firewall that drops looks like this.",
            ),
            Self::DestinationUnreachable => Row(
                "destination_unreachable",
                StatusCode::BAD_GATEWAY,
                "destination_ip_unroutable",
                "there is no route to the destination",
                "Check whether the destination has only IPv6 addresses and the pool only IPv4.",
            ),
            Self::ConnectionFailed => Row(
                "connection_failed",
                StatusCode::BAD_GATEWAY,
                "destination_unavailable",
                "the connection to the destination failed",
                "Retry; the proxy's log has the operating system's error.",
            ),
            Self::UpstreamMalformed => Row(
                "upstream_malformed",
                StatusCode::BAD_GATEWAY,
                "http_protocol_error",
                "the destination's answer breaks HTTP's grammar",
                "The destination has to be repaired (RFC 9112).",
            ),
            Self::UpstreamClosed => Row(
                "upstream_closed",
                StatusCode::BAD_GATEWAY,
                "http_response_incomplete",
                "the destination closed the connection before it had answered",
                "Retry if the request is idempotent.",
            ),
            Self::UpstreamTimeout => Row(
                "upstream_timeout",
                StatusCode::GATEWAY_TIMEOUT,
                "http_response_timeout",
                "the destination did not answer in time",
                "Retry if the request is idempotent.",
            ),
            Self::ResponseTooLarge => Row(
                "response_too_large",
                StatusCode::BAD_GATEWAY,
                "http_response_body_size",
                "the destination's answer is longer than may pass",
                "Ask for less, or have the limit on answers raised.",
            ),
            Self::SigningKeyUnavailable => Row(
                "signing_key_unavailable",
                StatusCode::INTERNAL_SERVER_ERROR,
                "proxy_configuration_error",
                "the key that has to sign the request cannot be used",
                "Check the Secrets of the rule's signing.secretRefs; the proxy's log says what is wrong with which.",
            ),
            Self::SignedBodyTooLarge => Row(
                "signed_body_too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "http_request_error",
                "the body is too long to be signed",
                "Send less, or raise limits.signedBody of the EgressPolicy.",
            ),
            Self::SigningBusy => Row(
                "signing_busy",
                StatusCode::SERVICE_UNAVAILABLE,
                "proxy_internal_response",
                "too many bodies wait to be signed",
                "Retry; if it lasts, add replicas or send fewer requests at once.",
            ),
            Self::Tls(failure) => failure.kind.row(),
        }
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

/// What `Malformed` says, as text that lives for ever.
const fn malformed(what: Malformed) -> &'static str {
    match what {
        Malformed::EmptyHost => "the host is empty",
        Malformed::NoPort => "the port is missing",
        Malformed::BadPort => "the port is not a number from 1 to 65535",
        Malformed::UserInfo => "user information is not part of an authority",
        Malformed::BadIpv6 => "the brackets do not hold an IPv6 address",
        Malformed::AmbiguousAddress => "the address is not written as a dotted quad",
        Malformed::BadName => "the host is not a DNS name",
        Malformed::TooLong => "the authority is too long",
    }
}

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
            Self::Deny(Deny::NoRuleMatches) => {
                "Add the host and port to an Allow rule of the EgressPolicy, or ask its owner to. A rule with http is for plain requests of its methods and paths alone."
            }
            Self::Deny(Deny::DeniedByRule { .. } | Deny::AddressDeniedByRule { .. }) => {
                "A Deny rule beats every Allow rule; ask the owner of the EgressPolicy."
            }
            Self::Deny(Deny::PolicySuspended) => {
                "Ask the owner of the EgressPolicy why spec.suspend is true."
            }
            Self::Deny(Deny::NameInternal | Deny::AddressInternal) => {
                "Reach in-cluster services directly (NO_PROXY); spec.caps.internalDestinations of the EgressPool opens other private networks."
            }
            Self::Deny(Deny::AddressForbidden) => "No policy can open this address.",
            Self::Deny(Deny::DeniedByPool) => {
                "Ask the platform team to open it in spec.caps of the EgressPool."
            }
            Self::Deny(Deny::PathAmbiguous) => {
                "Send the path without dot segments, empty segments, encoded slashes and parameters (;)."
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
}

impl Unopened {
    /// One of each, for tests and docs.
    pub const ALL: [Self; 4] = [
        Self::ProxyProtocol,
        Self::TlsUnavailable,
        Self::TlsHandshake,
        Self::Timeout,
    ];

    /// The stable code: metric label and log field.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ProxyProtocol => "proxy_protocol_malformed",
            Self::TlsUnavailable => "tls_unavailable",
            Self::TlsHandshake => "tls_handshake_failed",
            Self::Timeout => "opening_timeout",
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
