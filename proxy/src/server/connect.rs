//! CONNECT: the target stands in the request line, never in Host; then bytes both ways.
//!
//! Bytes that came behind the head belong to the tunnel if it opens, and to nobody if it does not: a refused CONNECT
//! closes its connection (RFC 9931).

use bytes::Bytes;
use egressway_core::acl::Target;
use tokio::io::AsyncWriteExt as _;

use super::client::Client;
use super::head::{Framing, Head};
use super::reason::{Fault, Reason};
use super::record::Record;
use super::route::{self, Route};
use super::{Server, Turn};
use crate::tunnel::Side;

/// No Content-Length, no Transfer-Encoding (RFC 9110, 9.3.6), the same to HTTP/1.0.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves one CONNECT.
pub(super) async fn serve(server: &Server, client: &mut Client, head: &Head, mut record: Record) -> Turn {
    match open(server, head, &mut record).await {
        Err(reason) => {
            let reply = record.refused(server, &reason);
            // A client that is gone does not miss its reply.
            let _ = client.reply(&reply).await;
            Turn::Close
        }
        Ok(route) => {
            // A client that is gone is found by the tunnel's first read.
            let _ = client.stream.write_all(ESTABLISHED).await;
            Turn::Tunnel {
                early: client.buffer.split().freeze(),
                origin: Side {
                    stream: route.stream,
                    early: Bytes::new(),
                },
                target: route.target,
                peer: route.peer,
                record: Box::new(record),
                status: 200,
            }
        }
    }
}

async fn open(server: &Server, head: &Head, record: &mut Record) -> Result<Route, Reason> {
    match head.framing {
        Framing::None | Framing::Length(0) => {}
        Framing::Length(_) | Framing::Chunked | Framing::Close => {
            return Err(Fault::MalformedRequest("CONNECT has no body").into());
        }
    }
    let in_force = route::admit(server, record)?;
    let target = Target::parse(&head.target).map_err(Fault::MalformedTarget)?;
    route::open(server, &in_force, target, record).await
}
