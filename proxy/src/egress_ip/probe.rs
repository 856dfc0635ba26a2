//! One question to one address of an observer, over a connection of its own: "which address do you see?"
//!
//! The connection is always fresh, because a NAT binds its choice to the connection; and nothing is followed, because
//! a redirect would ask somebody whom the pool did not name.

use std::net::IpAddr;

use bytes::Bytes;
use egressway_core::acl::address::{self, Class};
use egressway_core::acl::{Deny, VettedAddr};
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::plan::{Family, Observer};
use crate::dial;

/// Most bytes of an answer's head; hyper takes no smaller bound.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of an answer's body. An address has at most 45; a page that holds one somewhere is no answer.
const BODY_BYTES_MAX: usize = 256;
/// Who asks, for the observer's log.
const AGENT: &str = concat!("egressway-proxy/", env!("CARGO_PKG_VERSION"));

/// Why an observer gave no usable answer over a family.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its name has none.
    #[error("no {} address", .0.as_str())]
    NoAddress(Family),
    /// Its name could not be looked up.
    #[error("failed to look up the name: {0}")]
    LookUp(String),
    /// The floor refuses its address.
    #[error("the observer {0}")]
    Refused(Deny),
    /// No connection.
    #[error("failed to connect")]
    Connect(#[source] std::io::Error),
    /// No TLS, or a certificate that is not the observer's.
    #[error("failed to agree on TLS")]
    Tls(#[source] std::io::Error),
    /// No HTTP, or a head past the bound.
    #[error("failed to read the answer")]
    Http(#[source] hyper::Error),
    /// Something other than 200.
    #[error("answered with status {}, and only 200 is an answer", .0.as_u16())]
    Status(StatusCode),
    /// A body past the bound.
    #[error("answered with more than {BODY_BYTES_MAX} bytes")]
    TooLong,
    /// A body that is not exactly one address.
    #[error("answered with something other than one address")]
    NoIp,
    /// An address that no outside can have seen.
    #[error("answered {0} ({1}): an observer must stand outside of the network")]
    NotPublic(IpAddr, &'static str),
    /// Nothing in time.
    #[error("gave no answer in time")]
    TimedOut,
}

/// Asks once; the caller bounds the time.
pub(super) async fn ask(observer: &Observer, addr: VettedAddr) -> Result<IpAddr, Error> {
    let stream = dial::dial(addr).await.map_err(Error::Connect)?;
    match &observer.tls {
        None => exchange(observer, stream).await,
        Some((config, name)) => {
            let tls = TlsConnector::from(config.clone());
            let stream = tls.connect(name.clone(), stream).await.map_err(Error::Tls)?;
            exchange(observer, stream).await
        }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    observer: &Observer,
    stream: S,
) -> Result<IpAddr, Error> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Http)?;
    let answer = async {
        let response = sender
            .send_request(request(observer))
            .await
            .map_err(Error::Http)?;
        read(response).await
    };
    // The connection only moves bytes for the answer; when it ends first, the answer still holds what arrived.
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

fn request(observer: &Observer) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    // Both were parsed from a URL and print what a URL may hold.
    if let Ok(path) = observer.path.parse() {
        *request.uri_mut() = path;
    }
    let fields = request.headers_mut();
    let default = if observer.tls.is_some() { 443 } else { 80 };
    let host = if observer.target.port() == default {
        observer.target.host().to_string()
    } else {
        observer.target.to_string()
    };
    if let Ok(host) = host.parse() {
        fields.insert(HOST, host);
    }
    fields.insert(USER_AGENT, http::HeaderValue::from_static(AGENT));
    fields.insert(ACCEPT, http::HeaderValue::from_static("text/plain"));
    fields.insert(CONNECTION, http::HeaderValue::from_static("close"));
    request
}

async fn read(response: Response<Incoming>) -> Result<IpAddr, Error> {
    if response.status() != StatusCode::OK {
        return Err(Error::Status(response.status()));
    }
    let mut body = response.into_body();
    let mut text = Vec::with_capacity(BODY_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Error::Http)?.into_data() else {
            continue;
        };
        if text.len().saturating_add(data.len()) > BODY_BYTES_MAX {
            return Err(Error::TooLong);
        }
        text.extend_from_slice(&data);
    }
    parse(&text)
}

/// Exactly one address, and one that an outside can have seen.
fn parse(body: &[u8]) -> Result<IpAddr, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::NoIp)?;
    let ip = address::canonical(text.trim_ascii().parse().map_err(|_| Error::NoIp)?);
    match address::classify(ip) {
        Class::Public => Ok(ip),
        Class::Internal(range) | Class::Never(range) => Err(Error::NotPublic(ip, range)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_exactly_one_public_address() {
        for (body, expected) in [
            ("192.31.196.1", "192.31.196.1"),
            ("192.31.196.1\r\n", "192.31.196.1"),
            (" 2620:4F:8000::1\n", "2620:4f:8000::1"),
            ("::ffff:192.31.196.1", "192.31.196.1"),
        ] {
            assert_eq!(
                parse(body.as_bytes()).unwrap(),
                expected.parse::<IpAddr>().unwrap(),
                "{body:?}"
            );
        }
        for body in [
            "",
            "\n",
            "192.31.196.1 192.31.196.2",
            "192.31.196.1\n192.31.196.2\n",
            "<p>192.31.196.1</p>",
            "192.31.196.01",
            "192.31.196",
            "[2620:4f:8000::1]",
            "2620:4f:8000::1%eth0",
            "192.31.196.1:80",
        ] {
            assert!(matches!(parse(body.as_bytes()), Err(Error::NoIp)), "{body:?}");
        }
        assert!(matches!(parse(b"\xff"), Err(Error::NoIp)));
    }

    #[test]
    fn an_address_that_no_outside_can_have_seen_says_that_the_observer_stands_inside() {
        for body in [
            "10.0.0.1",
            "127.0.0.1",
            "fd00::1",
            "192.0.2.1",
            "100.64.0.1",
            "::ffff:10.0.0.1",
        ] {
            let error = parse(body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("must stand outside"), "{error}");
        }
    }
}
