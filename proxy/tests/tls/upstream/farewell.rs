//! A connection that the proxy needs no longer is closed as TLS demands (RFC 8446, 6.1): origins that hear nothing take it
//! for an attack and log one.

use std::io::ErrorKind;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::{answer, ask, get, proxy, roots, tls};
use crate::pki::{BOTH, Ca, HOST, TlsServer, server};
use crate::support::{DEADLINE, dial, status};

#[tokio::test]
async fn an_origin_hears_the_end() {
    let ca = Ca::new("ca");
    let origin = TlsServer::new(server(&ca.issue(HOST), None, BOTH)).await;
    let proxy = proxy(tls(), &[roots(&ca)]).await;
    for answered in [
        // Its last word, one way or the other, and an offer that is over before the proxy can take it.
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nok",
    ] {
        let mut client = dial(proxy.address).await;
        let request = get(HOST, origin.port(), "");
        let serve = async {
            let mut stream = origin.accept().await;
            answer(&mut stream, answered.as_bytes()).await;
            let mut rest = Vec::new();
            timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap()
        };
        let (got, end) = tokio::join!(ask(&mut client, &request), serve);
        assert_eq!(status(&got), 200, "{got}");
        let end = end.map_err(|error| error.kind());
        assert_ne!(end, Err(ErrorKind::UnexpectedEof), "no close_notify: {answered}");
        assert_eq!(end, Ok(0), "{answered}");
    }
}
