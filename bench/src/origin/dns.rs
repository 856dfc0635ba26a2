//! A name server for one question: every name has the origin's first address, and no other record.

use std::net::IpAddr;

use anyhow::{Result, bail};
use tokio::net::UdpSocket;

use crate::net;

/// Header of a message (RFC 1035 4.1.1).
const HEADER_BYTES: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
/// Long enough for a run: proxies are to cache it.
const TTL: [u8; 4] = 300_u32.to_be_bytes();

/// Serves in a task; the port.
pub(super) async fn serve() -> Result<u16> {
    let address = net::origin_address(0);
    let IpAddr::V4(ip) = address.ip() else {
        bail!("the origin has IPv4 addresses")
    };
    let socket = UdpSocket::bind(address).await?;
    let port = socket.local_addr()?.port();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = buffer.get(..count).and_then(|query| answer(query, ip.octets())) {
                // Who asked asks again.
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    Ok(port)
}

fn answer(query: &[u8], ip: [u8; 4]) -> Option<Vec<u8>> {
    let name_bytes = query.get(HEADER_BYTES..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(HEADER_BYTES..HEADER_BYTES + name_bytes + 4)?;
    let found = question.get(name_bytes..name_bytes + 2)? == TYPE_A;
    let mut answer = query.get(..2)?.to_vec();
    // A response, recursion desired and available; one question, its answer or none, nothing else.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(question);
    if found {
        // The name of the question, type A, class IN.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1]);
        answer.extend(TTL);
        answer.extend([0, 4]);
        answer.extend(ip);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_the_address_and_nothing_else() {
        let query = |kind: u8| {
            [
                &b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x06origin\x04test\0\0"[..],
                &[kind, 0, 1],
            ]
            .concat()
        };
        let found = answer(&query(1), [127, 0, 2, 1]).unwrap();
        assert!(found.starts_with(b"\x12\x34\x81\x80\0\x01\0\x01"));
        assert!(found.ends_with(&[0, 4, 127, 0, 2, 1]));
        let ipv6 = answer(&query(28), [127, 0, 2, 1]).unwrap();
        assert_eq!((ipv6.len(), ipv6.get(7)), (query(28).len(), Some(&0)));
        assert_eq!(answer(b"\x12", [0; 4]), None);
    }
}
