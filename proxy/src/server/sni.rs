//! For rules that demand it: nothing of a tunnel reaches the origin before the client's TLS hello named the target.
//!
//! The hello is read after the 200, since no client sends it before. What does not match is reset, as every cut is.

use std::time::Duration;

use bytes::BytesMut;
use egressway_core::acl::Host;
use egressway_core::tls_hello::{Unreadable, server_name};
use egressway_core::wire::document::Sni;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::stream::Stream;

/// Bytes of a hello read at once; nearly every hello fits.
const READ_BYTES: usize = 2 * 1024;

/// Whether the name in a tunnel's TLS hello counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SniCheck {
    /// Anything may be in the tunnel.
    Off,
    /// The tunnel carries TLS, and its hello names the target.
    MustMatch,
}

impl From<Sni> for SniCheck {
    fn from(sni: Sni) -> Self {
        match sni {
            Sni::Ignore => Self::Off,
            Sni::MustMatch => Self::MustMatch,
        }
    }
}

impl SniCheck {
    /// Whether the tunnel may go on; `buffer` holds what was read from the client so far, and goes to the origin first.
    pub(super) async fn passes(
        self,
        client: &mut Stream,
        buffer: &mut BytesMut,
        target: &Host,
        patience: Duration,
    ) -> bool {
        match self {
            Self::Off => true,
            Self::MustMatch => {
                let named = timeout(patience, named(client, buffer)).await;
                named.is_ok_and(|host| host.as_ref() == Some(target))
            }
        }
    }
}

/// The name in the hello; `None` where there is none, or no hello.
async fn named(client: &mut Stream, buffer: &mut BytesMut) -> Option<Host> {
    loop {
        match server_name(buffer) {
            Ok(name) => return name,
            Err(Unreadable::NeedMore) => {}
            Err(Unreadable::NotTls | Unreadable::Malformed) => return None,
        }
        buffer.reserve(READ_BYTES);
        if client.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use egressway_core::acl::Target;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// The hello that rustls sends.
    fn hello(name: &str) -> Vec<u8> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[expect(clippy::disallowed_methods, reason = "a client in a test")]
    async fn pair() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0.into())
    }

    #[tokio::test]
    async fn only_a_hello_that_names_the_target_passes() {
        let (right, other) = (hello("API.example.com"), hello("other.example.com"));
        for (what, sent, target, expected) in [
            ("the target", &right[..], "api.example.com:443", true),
            ("another name", &other, "api.example.com:443", false),
            ("no name", &hello("192.175.48.1"), "api.example.com:443", false),
            (
                "the target is an address",
                &hello("192.175.48.1"),
                "192.175.48.1:443",
                false,
            ),
            ("not TLS", b"GET / HTTP/1.1\r\n\r\n", "api.example.com:443", false),
            ("the end", &right[..100], "api.example.com:443", false),
            ("nothing", b"", "api.example.com:443", false),
        ] {
            let (mut client, mut stream) = pair().await;
            client.write_all(sent).await.unwrap();
            client.shutdown().await.unwrap();
            let (mut buffer, target) = (BytesMut::new(), Target::parse(target).unwrap());
            let passes =
                SniCheck::MustMatch.passes(&mut stream, &mut buffer, target.host(), Duration::from_secs(10));
            assert_eq!(passes.await, expected, "{what}");
            assert_eq!(buffer, sent, "{what}: what was read goes to the origin first");
        }
    }

    #[tokio::test]
    async fn a_hello_that_does_not_come_does_not_pass() {
        let (_client, mut stream) = pair().await;
        let (mut buffer, target) = (BytesMut::new(), Target::parse("a.example:443").unwrap());
        let passes =
            SniCheck::MustMatch.passes(&mut stream, &mut buffer, target.host(), Duration::from_millis(20));
        assert!(!passes.await);
    }

    #[tokio::test]
    async fn early_bytes_count_and_without_the_check_nothing_is_read() {
        let (_client, mut stream) = pair().await;
        let target = Target::parse("api.example.com:443").unwrap();
        for (check, early) in [
            (SniCheck::MustMatch, hello("api.example.com")),
            (SniCheck::Off, Vec::new()),
        ] {
            let mut buffer = BytesMut::from(&early[..]);
            let passes = check.passes(&mut stream, &mut buffer, target.host(), Duration::from_secs(10));
            assert!(passes.await, "{check:?}");
        }
    }
}
