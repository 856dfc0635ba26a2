//! Why a request is refused by decision: one code, one spelling, for reply, log, metric and docs.
//!
//! A denial is a verdict, not an error. What failed on the way (DNS, connect) is a fault and lives in the proxy.

use std::fmt;
use std::sync::Arc;

/// The reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deny {
    /// No Allow rule matches the request.
    NoRuleMatches {
        /// One that would, but for its methods or paths.
        near: Option<Arc<str>>,
    },
    /// A Deny rule matches the target.
    DeniedByRule {
        /// The rule.
        rule: Arc<str>,
    },
    /// `spec.suspend` is true.
    PolicySuspended,
    /// The pool permits the policy no more, or nobody knows what was accepted.
    PolicyClosed,
    /// The pool's caps do not open the host or port.
    DeniedByPool,
    /// A rule compares paths, and this one is read differently by different servers.
    PathAmbiguous,
    /// The most specific rule for the host signs, and in a tunnel nothing can be signed.
    TunnelUnsigned {
        /// The rule.
        rule: Arc<str>,
    },
    /// The client asked the proxy for TLS, and what lets the request through makes none.
    TlsNotOffered {
        /// The rule, where one lets it through.
        rule: Option<Arc<str>>,
    },
    /// The client is none that the policy names.
    ClientUnknown,
    /// The client presented no credential where one is needed.
    CredentialsMissing,
    /// The credential that the client presented is none of this policy.
    CredentialsInvalid,
    /// A name inside the cluster: a single label, `.svc`, the cluster domain, a metadata service.
    NameInternal,
    /// The address lies in a private, shared, Pod or Service range.
    AddressInternal,
    /// The address is special, not globally reachable, or belongs to the cluster's machinery.
    AddressForbidden,
    /// A Deny rule names a range with the address about to be dialled.
    AddressDeniedByRule {
        /// The rule.
        rule: Arc<str>,
    },
}

impl Deny {
    /// No Allow rule comes near.
    #[must_use]
    pub const fn no_rule() -> Self {
        Self::NoRuleMatches { near: None }
    }

    /// The stable code: metric label, log field, `X-Egressway-Reason`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoRuleMatches { .. } => "no_rule_matches",
            Self::DeniedByRule { .. } => "denied_by_rule",
            Self::PolicySuspended => "policy_suspended",
            Self::PolicyClosed => "policy_closed",
            Self::DeniedByPool => "denied_by_pool",
            Self::PathAmbiguous => "path_ambiguous",
            Self::TunnelUnsigned { .. } => "tunnel_unsigned",
            Self::TlsNotOffered { .. } => "tls_not_offered",
            Self::ClientUnknown => "client_unknown",
            Self::CredentialsMissing => "credentials_missing",
            Self::CredentialsInvalid => "credentials_invalid",
            Self::NameInternal => "name_internal",
            Self::AddressInternal => "address_internal",
            Self::AddressForbidden => "address_forbidden",
            Self::AddressDeniedByRule { .. } => "address_denied_by_rule",
        }
    }

    /// The RFC 9209 error type of the `Proxy-Status` field.
    #[must_use]
    pub const fn proxy_status(&self) -> &'static str {
        match self {
            Self::NoRuleMatches { .. }
            | Self::DeniedByRule { .. }
            | Self::PolicySuspended
            | Self::PolicyClosed
            | Self::DeniedByPool
            | Self::PathAmbiguous
            | Self::TunnelUnsigned { .. }
            | Self::TlsNotOffered { .. }
            | Self::ClientUnknown
            | Self::CredentialsMissing
            | Self::CredentialsInvalid
            | Self::NameInternal => "http_request_denied",
            Self::AddressInternal | Self::AddressForbidden | Self::AddressDeniedByRule { .. } => {
                "destination_ip_prohibited"
            }
        }
    }

    /// The rule that refused, where one did.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule_name().map(AsRef::as_ref)
    }

    /// The same, to be kept.
    #[must_use]
    pub const fn rule_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::DeniedByRule { rule }
            | Self::AddressDeniedByRule { rule }
            | Self::TunnelUnsigned { rule } => Some(rule),
            Self::TlsNotOffered { rule } => rule.as_ref(),
            Self::NoRuleMatches { .. }
            | Self::PolicySuspended
            | Self::PolicyClosed
            | Self::DeniedByPool
            | Self::PathAmbiguous
            | Self::ClientUnknown
            | Self::CredentialsMissing
            | Self::CredentialsInvalid
            | Self::NameInternal
            | Self::AddressInternal
            | Self::AddressForbidden => None,
        }
    }

    /// One of each, for tests and docs.
    #[must_use]
    pub fn examples() -> [Self; 15] {
        let rule: Arc<str> = Arc::from("example");
        [
            Self::no_rule(),
            Self::DeniedByRule {
                rule: Arc::clone(&rule),
            },
            Self::PolicySuspended,
            Self::PolicyClosed,
            Self::DeniedByPool,
            Self::PathAmbiguous,
            Self::TunnelUnsigned {
                rule: Arc::clone(&rule),
            },
            Self::TlsNotOffered {
                rule: Some(Arc::clone(&rule)),
            },
            Self::ClientUnknown,
            Self::CredentialsMissing,
            Self::CredentialsInvalid,
            Self::NameInternal,
            Self::AddressInternal,
            Self::AddressForbidden,
            Self::AddressDeniedByRule { rule },
        ]
    }
}

/// For people: says what to do next, never which address a name led to.
impl fmt::Display for Deny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuleMatches { near: None } => write!(f, "matches no Allow rule"),
            Self::NoRuleMatches { near: Some(rule) } => write!(
                f,
                "matches no Allow rule; rule {rule} is for its host and port, by other methods or paths"
            ),
            Self::DeniedByRule { rule } => write!(f, "denied by rule {rule}"),
            Self::PolicySuspended => write!(f, "the policy is suspended"),
            Self::PolicyClosed => write!(f, "the policy is not accepted any more"),
            Self::DeniedByPool => write!(f, "is outside of what the pool opens"),
            Self::PathAmbiguous => write!(
                f,
                "has a path that servers read differently, and a rule compares paths"
            ),
            Self::TunnelUnsigned { rule } => {
                write!(f, "would be a tunnel, in which rule {rule} can sign nothing")
            }
            Self::TlsNotOffered { rule: Some(rule) } => {
                write!(
                    f,
                    "was asked for with TLS by the proxy, which rule {rule} does not offer"
                )
            }
            Self::TlsNotOffered { rule: None } => {
                write!(f, "was asked for with TLS by the proxy, which no rule offers")
            }
            Self::ClientUnknown => write!(f, "was asked for by a client that the policy does not name"),
            Self::CredentialsMissing => write!(f, "needs proxy credentials"),
            Self::CredentialsInvalid => {
                write!(f, "was asked for with proxy credentials that are not valid here")
            }
            Self::NameInternal => write!(f, "is an internal name; names in the cluster belong in NO_PROXY"),
            Self::AddressInternal => write!(f, "leads to a private address"),
            Self::AddressForbidden => write!(
                f,
                "leads to an address that is never reachable through this proxy"
            ),
            Self::AddressDeniedByRule { rule } => write!(f, "leads to an address denied by rule {rule}"),
        }
    }
}
