//! Heads of HTTP/1 messages: found, checked and framed here, once, for requests and responses alike.
//!
//! Strict, because a client's bodies are chosen by strangers, and so are an origin's answers: whatever two parsers could
//! read differently is refused, and the connection with it (RFC 9112, 2.2, 5 and 6.3; request smuggling). [`Scan`] finds
//! the end and refuses bytes, [`Fields`] splits lines; nothing else in this crate decides where a message ends. What is
//! passed on is decided elsewhere. No sockets here.

mod fields;
mod request;
mod response;
mod scan;

pub(in crate::server) use fields::is_token;
pub use fields::{Fields, tokens};
pub use request::Head;
pub use response::ResponseHead;
pub use scan::{EmptyLines, Scan, Section};

/// Most fields of a head. Go allows any number, nginx and hyper 100; webhooks carry a dozen.
pub const FIELDS_MAX: usize = 100;

/// HTTP/1's minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// No chunked, no 1xx, the connection closes.
    Http10,
    /// All of it.
    Http11,
}

impl Version {
    /// What `HTTP/1.N` is held to: a version above ours is compatible with it (RFC 9110, 2.5).
    fn of(text: &[u8]) -> Option<Self> {
        match text {
            b"HTTP/1.0" => Some(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Some(Self::Http11),
            _ => None,
        }
    }
}

/// Where the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection; responses only.
    Close,
}
