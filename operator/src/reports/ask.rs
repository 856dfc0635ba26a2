//! One question to one pod: authenticated both ways, bounded in time and bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use egressway_core::wire::auth::{self, Message};
use egressway_core::wire::names::REPORT_PORT;
use egressway_core::wire::report::{BYTES_MAX, PATH, Report, SEEN_MAX, VERSION};
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// A pod on the same network answers in a millisecond; one that takes a second is as good as gone.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Most observers of an address that are taken from a report: a pool names no more.
const OBSERVERS_MAX: usize = 8;
/// Longest name of an observer: that of the field.
const OBSERVER_CHARS_MAX: usize = 63;
/// Longest hash: `sha256:` and 64 digits.
const HASH_CHARS_MAX: usize = 71;
/// Longest reason for which documents were refused. A hundred pods may have one, in an object of a megabyte.
const ERROR_CHARS_MAX: usize = 500;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection.
    #[error("failed to connect")]
    Connect(#[source] std::io::Error),
    /// No HTTP.
    #[error("failed to exchange HTTP")]
    Http(#[source] hyper::Error),
    /// Too long, or broken off.
    #[error("failed to read the answer: {0}")]
    Body(String),
    /// Something other than 200.
    #[error("answered with status {0}")]
    Status(StatusCode),
    /// Not signed by the fleet's key for this pod and this question.
    #[error("the answer is not authentic")]
    NotAuthentic,
    /// No report that this build reads.
    #[error("the answer is no report: {0}")]
    Malformed(String),
    /// No randomness.
    #[error("failed to draw a nonce: {0}")]
    Random(getrandom::Error),
}

/// Asks a pod for its report.
///
/// # Errors
/// Why there is none to believe.
pub async fn ask(ip: IpAddr, pod_uid: &str, key: &str) -> Result<Report, Error> {
    ask_at(SocketAddr::new(ip, REPORT_PORT), pod_uid, key).await
}

async fn ask_at(address: SocketAddr, pod_uid: &str, key: &str) -> Result<Report, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    let nonce: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (signature, body) = timeout(TIMEOUT, exchange(address, pod_uid, key, &nonce))
        .await
        .map_err(|_| Error::Timeout)??;
    if !auth::verify(
        key.as_bytes(),
        &nonce,
        pod_uid,
        Message::Answer(&body),
        &signature,
    ) {
        return Err(Error::NotAuthentic);
    }
    let mut report: Report =
        serde_json::from_slice(&body).map_err(|error| Error::Malformed(error.to_string()))?;
    if report.version != VERSION || report.uid != pod_uid {
        return Err(Error::Malformed(format!(
            "version {} of pod {}",
            report.version, report.uid
        )));
    }
    bound(&mut report);
    Ok(report)
}

/// Cuts what stands in a status to what an honest pod would say: a status is stored, and its object has a limit.
fn bound(report: &mut Report) {
    fn cut(text: &mut String, most: usize) {
        if text.chars().any(char::is_control) || text.chars().count() > most {
            let printable = |c: char| if c.is_control() { ' ' } else { c };
            *text = text.chars().map(printable).take(most).collect();
        }
    }
    report.egress.seen.truncate(SEEN_MAX);
    for seen in &mut report.egress.seen {
        seen.observers.truncate(OBSERVERS_MAX);
        for observer in &mut seen.observers {
            cut(observer, OBSERVER_CHARS_MAX);
        }
    }
    for policy in &mut report.policies {
        cut(&mut policy.hash, HASH_CHARS_MAX);
    }
    if let Some(error) = &mut report.load_error {
        cut(error, ERROR_CHARS_MAX);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the operator asks pods, whose addresses come from the API server"
)]
async fn exchange(
    address: SocketAddr,
    pod_uid: &str,
    key: &str,
    nonce: &str,
) -> Result<(String, Bytes), Error> {
    let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Http)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(PATH)
        .header(HOST, address.to_string())
        .header(auth::NONCE_HEADER, nonce)
        .header(auth::POD_HEADER, pod_uid)
        .header(
            auth::SIGNATURE_HEADER,
            auth::sign(key.as_bytes(), nonce, pod_uid, Message::Request),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::Malformed(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(Error::Http)?;
    if response.status() != StatusCode::OK {
        return Err(Error::Status(response.status()));
    }
    let signature = response
        .headers()
        .get(auth::SIGNATURE_HEADER)
        .and_then(|value| value.to_str().ok());
    let signature = signature.unwrap_or_default().to_owned();
    let body = Limited::new(response.into_body(), BYTES_MAX)
        .collect()
        .await
        .map_err(|e| Error::Body(e.to_string()))?;
    Ok((signature, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::tests::report;
    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    /// A pod that answers with `body` signed by `key` for `uid`.
    async fn pod(key: &'static str, uid: &'static str, body: Vec<u8>) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let body = Arc::new(body);
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let nonce = head
                .lines()
                .find_map(|l| l.strip_prefix("egressway-nonce: "))
                .unwrap()
                .to_owned();
            let signature = auth::sign(key.as_bytes(), &nonce, uid, Message::Answer(&body));
            let answer = format!(
                "HTTP/1.1 200 OK\r\n{}: {signature}\r\nContent-Length: {}\r\n\r\n",
                auth::SIGNATURE_HEADER,
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.write_all(&body).await;
        });
        (address, AbortOnDropHandle::new(task))
    }

    fn body() -> Vec<u8> {
        serde_json::to_vec(&report("h", &[])).unwrap()
    }

    #[tokio::test]
    async fn an_authentic_report_is_believed_and_others_are_not() {
        let (address, _pod) = pod(KEY, "uid", body()).await;
        assert_eq!(ask_at(address, "uid", KEY).await.unwrap().policies[0].hash, "h");
        let (address, _pod) = pod("wrong-key-wrong-key-wrong-key-wrong", "uid", body()).await;
        assert!(matches!(
            ask_at(address, "uid", KEY).await,
            Err(Error::NotAuthentic)
        ));
        let (address, _pod) = pod(KEY, "another", body()).await;
        assert!(matches!(
            ask_at(address, "uid", KEY).await,
            Err(Error::NotAuthentic)
        ));
        let (address, _pod) = pod(KEY, "uid", b"[]".to_vec()).await;
        assert!(matches!(
            ask_at(address, "uid", KEY).await,
            Err(Error::Malformed(_))
        ));
        let (address, _pod) = pod(KEY, "uid", vec![b' '; BYTES_MAX + 1]).await;
        assert!(matches!(ask_at(address, "uid", KEY).await, Err(Error::Body(_))));
    }

    #[tokio::test]
    async fn what_would_stand_in_a_status_is_cut() {
        let mut long = report(&"h".repeat(50_000), &[("192.31.196.10", &["one"; 2000], true)]);
        long.egress.seen[0].observers[0] = "o".repeat(50_000);
        long.load_error = Some("\n\u{1b}[2J".repeat(2000));
        let (address, _pod) = pod(KEY, "uid", serde_json::to_vec(&long).unwrap()).await;
        let taken = ask_at(address, "uid", KEY).await.unwrap();
        let error = taken.load_error.unwrap();
        assert_eq!(error.chars().count(), ERROR_CHARS_MAX);
        assert!(error.starts_with("  [2J  [2J"), "{error:?}");
        let seen = &taken.egress.seen[0].observers;
        assert_eq!((seen.len(), seen[0].len()), (OBSERVERS_MAX, OBSERVER_CHARS_MAX));
        assert_eq!(taken.policies[0].hash.len(), HASH_CHARS_MAX);
    }
}
