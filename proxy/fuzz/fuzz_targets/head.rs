//! Any bytes as the head of a request and of a response: no panic, the same end however they arrive, and what is
//! accepted parses to the same once it is printed again.
#![no_main]

use bytes::{BufMut as _, Bytes, BytesMut};
use egressway_proxy::server::head::{Head, ResponseHead, Scan, Section, Version};
use libfuzzer_sys::fuzz_target;

const BYTES_MAX: usize = 4096;

fuzz_target!(|input: (&[u8], usize)| {
    let (bytes, cut) = input;
    if let Some(head) = complete(bytes, cut, Section::Request)
        && let Ok(head) = Head::parse(head)
    {
        let mut printed = BytesMut::new();
        printed
            .put_slice(format!("{} {} {}\r\n", head.method, head.target, version(head.version)).as_bytes());
        print(&mut printed, head.fields());
        let again = Head::parse(printed.freeze()).expect("an accepted head is accepted again");
        assert_eq!(
            (&again.method, &again.target, again.version, again.framing),
            (&head.method, &head.target, head.version, head.framing)
        );
        assert_eq!(
            (again.expects_continue, again.closes),
            (head.expects_continue, head.closes)
        );
        assert!(again.fields().eq(head.fields()));
    }
    if let Some(head) = complete(bytes, cut, Section::Response)
        && let Ok(head) = ResponseHead::parse(&head)
    {
        let mut printed = BytesMut::new();
        printed.put_slice(format!("{} {} ", version(head.version), head.status.as_u16()).as_bytes());
        printed.put_slice(head.phrase());
        printed.put_slice(b"\r\n");
        print(&mut printed, head.fields());
        let again = ResponseHead::parse(&printed.freeze()).expect("an accepted head is accepted again");
        assert_eq!(
            (again.version, again.status, again.framing, again.persistent),
            (head.version, head.status, head.framing, head.persistent)
        );
        assert_eq!(again.phrase(), head.phrase());
        assert!(again.fields().eq(head.fields()));
    }
});

/// The head at the start, if there is one; found at once and in two parts.
fn complete(bytes: &[u8], cut: usize, section: Section) -> Option<Bytes> {
    let whole = Scan::default().advance(bytes, section, BYTES_MAX);
    let mut scan = Scan::default();
    let first = scan.advance(&bytes[..cut.min(bytes.len())], section, BYTES_MAX);
    let parts = match first {
        Ok(None) => scan.advance(bytes, section, BYTES_MAX),
        decided => decided,
    };
    assert_eq!(parts, whole, "cut at {cut}");
    whole.ok()?.map(|end| Bytes::copy_from_slice(&bytes[..end]))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    }
}

fn print<'a>(out: &mut BytesMut, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    for (name, value) in fields {
        out.put_slice(name);
        out.put_slice(b": ");
        out.put_slice(value);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}
