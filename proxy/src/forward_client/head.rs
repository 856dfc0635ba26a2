//! A client's head with the credential in it. Pure.

use http::{Method, StatusCode};

use crate::server::head::{Framing, Head, tokens};

/// How the exchange behind a head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// CONNECT: once it is granted, everything behind the head belongs to the tunnel.
    Tunnel,
    /// Another protocol is asked for: the same once it is granted, and a request like any other if it is not.
    Upgrade,
    /// One request and one answer, and then the connection's end.
    Request,
}

impl Kind {
    /// Whether an answer with this status grants what was asked for.
    pub(super) fn is_granted(self, status: StatusCode) -> bool {
        match self {
            Self::Tunnel => status.is_success(),
            Self::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Request => false,
        }
    }
}

/// The head as it is sent on: without the client's own credential, with ours, and for anything but CONNECT with the wish
/// that the connection ends behind it, which says nothing about the protocol that follows a 101.
pub(super) fn with_credential(head: &Head, raw: &[u8], credential: &str) -> (Kind, Vec<u8>) {
    let named = |name: &'static str| {
        let fields = head.fields.iter();
        fields.filter(move |(own, _)| own.eq_ignore_ascii_case(name.as_bytes()))
    };
    let kept: Vec<_> = named("connection")
        .flat_map(|(_, value)| tokens(value))
        .filter(|token| !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close"))
        .collect();
    let upgrades = kept.iter().any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    let kind = if head.method == Method::CONNECT {
        Kind::Tunnel
    } else if upgrades && matches!(head.framing, Framing::None | Framing::Length(0)) {
        Kind::Upgrade
    } else {
        Kind::Request
    };
    let line_end = raw
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(raw.len(), |at| at + 1);
    let mut sent = raw.get(..line_end).unwrap_or_default().to_vec();
    let mut field = |name: &[u8], value: &[u8]| {
        sent.extend_from_slice(name);
        sent.extend_from_slice(b": ");
        sent.extend_from_slice(value);
        sent.extend_from_slice(b"\r\n");
    };
    field(b"Proxy-Authorization", credential.as_bytes());
    for (name, value) in head.fields.iter() {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let ours = is("proxy-authorization");
        let of_connection = is("connection") || is("proxy-connection") || is("keep-alive");
        let dropped = ours || (of_connection && kind != Kind::Tunnel);
        if !dropped {
            field(name, value);
        }
    }
    if kind != Kind::Tunnel {
        let mut value = b"close".to_vec();
        for token in kept {
            value.extend_from_slice(b", ");
            value.extend_from_slice(token);
        }
        field(b"Connection", &value);
    }
    sent.extend_from_slice(b"\r\n");
    (kind, sent)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_head_gets_the_credential_and_loses_the_clients() {
        for (raw, kind, expected) in [
            (
                "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nPROXY-Authorization: Basic eA==\r\nX: y\r\n\r\n",
                Kind::Tunnel,
                "CONNECT a:443 HTTP/1.1\r\nProxy-Authorization: C\r\nHost: a:443\r\nX: y\r\n\r\n",
            ),
            (
                "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, TE\r\nProxy-Connection: keep-alive\r\n\r\n",
                Kind::Request,
                "GET http://a/ HTTP/1.1\r\nProxy-Authorization: C\r\nHost: a\r\nConnection: close, TE\r\n\r\n",
            ),
            (
                "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                Kind::Upgrade,
                "GET http://a/ HTTP/1.1\r\nProxy-Authorization: C\r\nHost: a\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\n\r\n",
            ),
            (
                "POST http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n",
                Kind::Request,
                "POST http://a/ HTTP/1.1\r\nProxy-Authorization: C\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 3\r\nConnection: close, Upgrade\r\n\r\n",
            ),
            (
                "POST http://a/ HTTP/1.0\r\nContent-Length: 3\r\n\r\n",
                Kind::Request,
                "POST http://a/ HTTP/1.0\r\nProxy-Authorization: C\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
            ),
        ] {
            let head = Head::parse(Bytes::from_static(raw.as_bytes())).unwrap();
            let (found, sent) = with_credential(&head, raw.as_bytes(), "C");
            assert_eq!(
                (found, String::from_utf8(sent).unwrap().as_str()),
                (kind, expected)
            );
        }
    }

    #[test]
    fn an_answer_grants_what_was_asked_for_and_nothing_else() {
        for (status, tunnel, upgrade) in [
            (101, false, true),
            (200, true, false),
            (204, true, false),
            (403, false, false),
            (426, false, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let granted = [Kind::Tunnel, Kind::Upgrade, Kind::Request].map(|kind| kind.is_granted(status));
            assert_eq!(granted, [tunnel, upgrade, false], "{status}");
        }
    }
}
