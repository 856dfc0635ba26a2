//! The PROXY protocol, versions 1 and 2: who a load balancer says that the client is.
//!
//! The header is read to its last byte and no further, since TLS may follow. Whom to believe is decided elsewhere; here
//! everything that is not exactly a header is malformed. Extensions (TLVs) are skipped.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest header of either version: `PROXY UNKNOWN` and its end.
const SHORTEST: usize = 15;
/// Longest header of version 1.
const V1_BYTES_MAX: usize = 107;
/// Most bytes behind the fixed part of version 2: addresses and extensions, of which load balancers send some hundred.
const V2_BYTES_MAX: usize = 2048;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke.
    #[error("the connection ended before its PROXY protocol header")]
    Io(#[from] io::Error),
    /// No header, or a broken one.
    #[error("the PROXY protocol header is missing or malformed")]
    Malformed,
}

/// Reads the header; `None` where the load balancer speaks for itself (`UNKNOWN`, `LOCAL`).
///
/// # Errors
/// There is none, or it is broken; the connection cannot be used.
pub async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Error> {
    let mut header = vec![0; SHORTEST];
    stream.read_exact(&mut header).await?;
    if header.starts_with(SIGNATURE) {
        header.push(stream.read_u8().await?);
        let [.., high, low] = *header.as_slice() else {
            return Err(Error::Malformed);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > V2_BYTES_MAX {
            return Err(Error::Malformed);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        return v2(&header, &body);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(Error::Malformed);
    }
    // Looked at before it is taken, so that nothing behind the line goes missing.
    let mut ahead = [0; V1_BYTES_MAX];
    while !header.ends_with(b"\r\n") {
        let room = V1_BYTES_MAX.saturating_sub(header.len());
        let ahead = ahead.get_mut(..room).unwrap_or_default();
        let seen = if room == 0 { 0 } else { stream.peek(ahead).await? };
        let seen = ahead.get(..seen).unwrap_or_default();
        let line = seen.iter().position(|byte| *byte == b'\n');
        let take = line.map_or(seen.len(), |end| end + 1);
        if take == 0 {
            return Err(Error::Malformed);
        }
        let start = header.len();
        header.resize(start + take, 0);
        stream
            .read_exact(header.get_mut(start..).unwrap_or_default())
            .await?;
        if line.is_some() && !header.ends_with(b"\r\n") {
            return Err(Error::Malformed);
        }
    }
    v1(&header)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n`.
fn v1(header: &[u8]) -> Result<Option<SocketAddr>, Error> {
    let line = std::str::from_utf8(header)
        .ok()
        .and_then(|text| text.strip_suffix("\r\n"))
        .ok_or(Error::Malformed)?;
    let parts: Vec<&str> = line.split(' ').collect();
    match parts.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family, source, destination, from, to] => {
            let (source, destination) = match *family {
                "TCP4" => (
                    source.parse().map(IpAddr::V4),
                    destination.parse().map(IpAddr::V4),
                ),
                "TCP6" => (
                    source.parse().map(IpAddr::V6),
                    destination.parse().map(IpAddr::V6),
                ),
                _ => return Err(Error::Malformed),
            };
            match (source, destination, port(from), port(to)) {
                (Ok(ip), Ok(_), Some(port), Some(_)) => Ok(Some(SocketAddr::new(ip, port))),
                _ => Err(Error::Malformed),
            }
        }
        _ => Err(Error::Malformed),
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// Version and command, family, length; then the addresses.
fn v2(header: &[u8], body: &[u8]) -> Result<Option<SocketAddr>, Error> {
    let [.., command, family, _, _] = *header else {
        return Err(Error::Malformed);
    };
    match (command, family) {
        (0x20, _) | (0x21, 0x00) => Ok(None),
        (0x21, 0x11) => {
            let (addresses, _) = body.split_first_chunk::<12>().ok_or(Error::Malformed)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            Ok(Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port))))
        }
        (0x21, 0x21) => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(Error::Malformed)?;
            let (_, ports) = rest.split_first_chunk::<16>().ok_or(Error::Malformed)?;
            let (port, _) = ports.split_first_chunk::<2>().ok_or(Error::Malformed)?;
            if ports.len() < 4 {
                return Err(Error::Malformed);
            }
            let port = u16::from_be_bytes(*port);
            Ok(Some(SocketAddr::from((Ipv6Addr::from(*source), port))))
        }
        // Datagrams and local sockets never arrive over TCP.
        _ => Err(Error::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    /// What the reader makes of bytes that arrive in pieces of `step`, and what it leaves.
    #[expect(clippy::disallowed_methods, reason = "a client in a test")]
    async fn read_in_steps(bytes: &[u8], step: usize) -> (Result<Option<SocketAddr>, Error>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = bytes.to_vec();
        let client = tokio::spawn(async move {
            let mut client = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
            client.set_nodelay(true).unwrap();
            for part in bytes.chunks(step) {
                if client.write_all(part).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        let read = read(&mut stream).await;
        let mut rest = Vec::new();
        if read.is_ok() {
            stream.read_to_end(&mut rest).await.unwrap();
        }
        client.await.unwrap();
        (read, rest)
    }

    #[tokio::test]
    async fn headers_are_read_to_their_last_byte() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0x04, 0xd2, 0x01, 0xbb];
        let v6: Vec<u8> = [
            &[0x20, 0x01, 0x0d, 0xb8],
            &[0; 12][..],
            &[0; 16],
            &[0x04, 0xd2, 0, 80],
        ]
        .concat();
        let with_extension = [&v4[..], &[0x04, 0, 1, 7]].concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n".to_vec(),
                Some("192.0.2.1:1234"),
            ),
            (
                b"PROXY TCP6 2001:db8:: ::1 1234 443\r\n".to_vec(),
                Some("[2001:db8::]:1234"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(),
                None,
            ),
            (binary(0x21, 0x11, &v4), Some("192.0.2.1:1234")),
            (binary(0x21, 0x11, &with_extension), Some("192.0.2.1:1234")),
            (binary(0x21, 0x21, &v6), Some("[2001:db8::]:1234")),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &v4), None),
        ] {
            for step in [1, 7, 4096] {
                let bytes = [&header[..], b"GET"].concat();
                let (read, rest) = read_in_steps(&bytes, step).await;
                let expected = expected.map(|text| text.parse().unwrap());
                assert_eq!(
                    (read.unwrap(), &rest[..]),
                    (expected, &b"GET"[..]),
                    "{header:?} by {step}"
                );
            }
        }
    }

    #[tokio::test]
    async fn everything_else_is_malformed() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX));
        for bytes in [
            &b"GET http://a.example/ HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2  1234 443\r\n",
            b"PROXY TCP4 2001:db8:: ::1 1234 443\r\n",
            b"PROXY TCP4 192.0.2.01 192.0.2.2 1234 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01234 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +1234 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 65536\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1234 443\r\n",
            b"proxy TCP4 192.0.2.1 192.0.2.2 1234 443\r\n",
            b"PROXY  UNKNOWN\r\n\r\n",
            b"PROXY TCP4",
            long.as_bytes(),
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x22, 0x11, &[0; 12]),
            &binary(0x21, 0x12, &[0; 12]),
            &binary(0x21, 0x31, &[0; 216]),
            &binary(0x21, 0x11, &[0; 11]),
            &binary(0x21, 0x21, &[0; 35]),
            &binary(0x21, 0x11, &[0; V2_BYTES_MAX + 1]),
            &binary(0x21, 0x11, &[0; 12])[..20],
        ] {
            let (read, _) = read_in_steps(bytes, 4096).await;
            assert!(read.is_err(), "{:?} is {read:?}", String::from_utf8_lossy(bytes));
        }
    }
}
