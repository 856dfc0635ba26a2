//! A reason as a client sees it: the only place that spells refusals.
//!
//! Most HTTP clients show nothing of a refused CONNECT but its reason phrase, so the whole sentence stands there, in
//! one printable line. Never an address that a name resolved to, never anything of the request but host and port.

use std::fmt::Write as _;

use egressway_core::acl::{Policy, Target};
use http::StatusCode;
use jiff::Timestamp;

use super::head::FIELDS_MAX;
use super::hop::http_date;
use super::id::Id;
use super::reason::{Fault, Reason};
use crate::auth::challenges;
use crate::limits::Limits;

/// Longest reason phrase. Clients cut lines at 256 bytes and more; 200 leaves room for their own words around it.
pub const PHRASE_BYTES_MAX: usize = 200;
/// A host is never shortened below this, so that it stays recognisable.
const TARGET_BYTES_MIN: usize = 40;
/// A policy is never shortened below this.
const POLICY_BYTES_MIN: usize = 40;
/// `Retry-After` of refusals that end by themselves: by then another pod has been picked or this one has become ready.
const RETRY_AFTER_SECONDS: u32 = 2;

/// What a refusal says.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: &'a Reason,
    /// Which request, for the log.
    pub id: Id,
    /// Name of the proxy in `Proxy-Status`.
    pub proxy: &'a str,
    /// The policy that was asked, once one was.
    pub policy: Option<&'a Policy>,
    /// The target, once it was parsed.
    pub target: Option<&'a Target>,
    /// The bounds in force.
    pub limits: &'a Limits,
}

/// Whether the client expects a body behind the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithBody {
    /// Any method but HEAD.
    Yes,
    /// HEAD.
    No,
}

impl Refusal<'_> {
    /// The reply, byte for byte. It always announces that the connection closes (RFC 9931 for CONNECT; for others
    /// nothing behind a refused message is processed either).
    #[must_use]
    pub fn bytes(&self, body: WithBody) -> Vec<u8> {
        let phrase = self.phrase();
        let text = format!("{phrase}\n{}\n", self.reason.next_step());
        let mut reply = format!(
            "HTTP/1.1 {} {phrase}\r\nProxy-Status: {}; error={}{}; details={}\r\nX-Egressway-Reason: {}\r\n\
             X-Egressway-Id: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n",
            self.reason.status().as_u16(),
            item(self.proxy),
            self.reason.proxy_status(),
            alert(self.reason),
            quoted(&self.sentence()),
            self.reason.code(),
            self.id,
            text.len(),
        );
        // RFC 9110, 6.6.1: whoever has a clock says when.
        if let Some(now) = http_date(Timestamp::now()) {
            let _ = write!(reply, "Date: {now}\r\n");
        }
        if self.reason.is_temporary() {
            let _ = write!(reply, "Retry-After: {RETRY_AFTER_SECONDS}\r\n");
        }
        if self.reason.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            for challenge in self.policy.map(challenges).unwrap_or_default() {
                let _ = write!(reply, "Proxy-Authenticate: {challenge}\r\n");
            }
        }
        if *self.reason == Reason::Fault(Fault::MethodUnsupported) {
            reply.push_str("Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n");
        }
        reply.push_str("Connection: close\r\n\r\n");
        if body == WithBody::Yes {
            reply.push_str(&text);
        }
        reply.into_bytes()
    }

    /// What happened, with the bound that was in force.
    fn sentence(&self) -> String {
        match self.reason {
            Reason::Fault(Fault::TargetTooLong) => {
                format!("the request line is longer than {} bytes", self.limits.head_bytes)
            }
            Reason::Fault(Fault::HeadTooLarge) => format!(
                "the head is longer than {} bytes or has more than {FIELDS_MAX} fields",
                self.limits.head_bytes
            ),
            reason => reason.sentence(),
        }
    }

    /// The sentence: at most [`PHRASE_BYTES_MAX`] bytes of printable ASCII.
    ///
    /// Too long, the target is shortened in its middle first, then the policy, then what happened; the id never.
    #[must_use]
    pub fn phrase(&self) -> String {
        let lead = match self.reason {
            Reason::Deny(_) => "Egress denied by ",
            // What the client has to do otherwise, whatever class its status is of.
            Reason::Fault(_) => match self.reason.proxy_status() {
                "http_request_error" => "Bad proxy request",
                "http_request_denied" => "Egress refused",
                _ => "Egress failed",
            },
        };
        let mut policy = match (self.reason, self.policy) {
            (Reason::Deny(_), Some(policy)) => format!("{}/{}", policy.namespace(), policy.name()),
            (Reason::Deny(_), None) => "the proxy".to_owned(),
            (Reason::Fault(_), _) => String::new(),
        };
        let mut target = self.target.map_or_else(String::new, |target| match self.reason {
            Reason::Deny(_) => target.to_string(),
            Reason::Fault(_) => format!("{target},"),
        });
        let mut why = printable(&self.sentence());
        let id = self.id;
        let tail = format!(" (id {id})");
        target = printable(&target);
        policy = printable(&policy);
        let space = if target.is_empty() { "" } else { " " };
        let total = |policy: &str, target: &str, why: &str| {
            [lead, policy, ": ", target, space, why, &tail]
                .iter()
                .map(|part| part.len())
                .sum::<usize>()
        };
        let over = total(&policy, &target, &why).saturating_sub(PHRASE_BYTES_MAX);
        target = shorten(&target, target.len().saturating_sub(over).max(TARGET_BYTES_MIN));
        let over = total(&policy, &target, &why).saturating_sub(PHRASE_BYTES_MAX);
        policy = shorten(&policy, policy.len().saturating_sub(over).max(POLICY_BYTES_MIN));
        let over = total(&policy, &target, &why).saturating_sub(PHRASE_BYTES_MAX);
        why = shorten(&why, why.len().saturating_sub(over));
        format!("{lead}{policy}: {target}{space}{why}{tail}")
    }
}

/// Parameters of `tls_alert_received` (RFC 9209, 2.3).
fn alert(reason: &Reason) -> String {
    match reason.alert() {
        None => String::new(),
        Some(alert) if alert.name.is_empty() => format!("; alert-id={}", alert.id),
        Some(alert) => format!("; alert-id={}; alert-message={}", alert.id, alert.name),
    }
}

/// Printable ASCII only; anything else becomes `?`.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if (' '..='~').contains(&c) { c } else { '?' })
        .collect()
}

/// At most `max` bytes of an ASCII text: its beginning, `...`, its end.
fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let keep = max.saturating_sub(3);
    let tail = keep / 2;
    let head = text.get(..keep - tail).unwrap_or_default();
    let end = text.get(text.len() - tail..).unwrap_or_default();
    format!("{head}...{end}")
}

/// An RFC 8941 string: printable ASCII in quotes, quotes and backslashes escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in printable(text).chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// An RFC 8941 token where the text is one, else a string.
fn item(text: &str) -> String {
    let token = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b));
    if token { text.to_owned() } else { quoted(text) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use egressway_core::acl::Deny;

    use super::*;
    use crate::samples::policy;

    fn phrase(policy: &Policy, target: &str, reason: &Reason) -> String {
        let target = Target::parse(target).unwrap();
        Refusal {
            reason,
            id: Id::from_bits(0x1234_5678_9abc),
            proxy: "egressway",
            policy: Some(policy),
            target: Some(&target),
            limits: &Limits::default(),
        }
        .phrase()
    }

    #[test]
    fn the_phrase_is_one_readable_sentence() {
        let policy = policy("payments", "customer-webhooks");
        assert_eq!(
            phrase(&policy, "evil.example:443", &Deny::no_rule().into()),
            "Egress denied by payments/customer-webhooks: evil.example:443 matches no Allow rule (id 123456789abc)"
        );
        assert_eq!(
            phrase(&policy, "a.example:443", &Fault::ConnectionRefused.into()),
            "Egress failed: a.example:443, the destination refused the connection (id 123456789abc)"
        );
        for (fault, lead) in [
            (Fault::VersionUnsupported, "Bad proxy request: "),
            (Fault::TransferCodingUnsupported, "Bad proxy request: "),
            (Fault::HeadTimeout, "Bad proxy request: "),
            (Fault::RateLimited, "Egress refused: "),
            (Fault::MethodUnsupported, "Egress refused: "),
            (Fault::Draining, "Egress failed: "),
        ] {
            let phrase = phrase(&policy, "a.example:443", &fault.into());
            assert!(phrase.starts_with(lead), "{phrase}");
        }
    }

    #[test]
    fn long_names_are_shortened_in_their_middle_and_keep_the_id() {
        let host = format!(
            "{}.{}.{}.example:443",
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63)
        );
        for (namespace, name) in [
            ("payments", "customer-webhooks"),
            (&*"n".repeat(63), &*"p".repeat(253)),
        ] {
            let rule: Arc<str> = Arc::from("r".repeat(253));
            for reason in [
                Deny::no_rule(),
                Deny::AddressForbidden,
                Deny::DeniedByRule { rule },
            ] {
                let phrase = phrase(&policy(namespace, name), &host, &reason.into());
                assert!(phrase.len() <= PHRASE_BYTES_MAX, "{} {phrase}", phrase.len());
                assert!(phrase.ends_with("(id 123456789abc)"), "{phrase}");
                assert!(
                    phrase.contains("aaaa...") && phrase.contains(".example:443 "),
                    "{phrase}"
                );
            }
        }
    }

    #[test]
    fn structured_fields_are_escaped() {
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
        assert_eq!(quoted("a\r\nb\u{e4}"), "\"a??b?\"");
        assert_eq!(item("egressway"), "egressway");
        assert_eq!(item("7-pods of us"), "\"7-pods of us\"");
    }
}
