//! The row of every fault but those of TLS, which [`crate::upstream_tls`] has: what the client, the log and the manual say.

use egressway_core::acl::target::Malformed;
use http::StatusCode;

use super::{Fault, Row};

impl Fault {
    /// One row: code, status, RFC 9209 error type, sentence, next step.
    pub(super) const fn row(self) -> Row {
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
            Self::UpstreamMalformed(_) => Row(
                "upstream_malformed",
                StatusCode::BAD_GATEWAY,
                "http_protocol_error",
                "the destination's answer breaks HTTP's grammar",
                "The destination has to be repaired (RFC 9112); the proxy's log says what is wrong.",
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

/// What `Malformed` says, as text that lives for ever.
pub(super) const fn malformed(what: Malformed) -> &'static str {
    match what {
        Malformed::EmptyHost => "the host is empty",
        Malformed::NoPort => "the port is missing",
        Malformed::BadPort => "the port is not a number from 1 to 65535",
        Malformed::UserInfo => "user information is not part of an authority",
        Malformed::BadIpv6 => "an IPv6 address stands in brackets, and nothing else does",
        Malformed::Scheme => "a scheme stands before the host",
        Malformed::AmbiguousAddress => "the address is not written as a dotted quad",
        Malformed::BadName => "the host is not a DNS name",
        Malformed::TooLong => "the authority is too long",
    }
}
