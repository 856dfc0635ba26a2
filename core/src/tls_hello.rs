//! The name that a TLS client asks for, read from the first bytes it sends (RFC 8446, 4.1.2; RFC 6066, 3).
//!
//! Strict and bounded: what is cut off anywhere asks for more, what no TLS client sends is refused. It decides nothing
//! and reads no more than the name. With Encrypted Client Hello it is the outer name, the only one that is readable.

use crate::acl::Host;

/// Most bytes of a hello, record headers included: those with post-quantum key shares and a long ECH take under 4 KiB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Most records that a hello is spread over; clients use one, middleboxes have been seen to make a few of it.
pub const HELLO_RECORDS_MAX: usize = 16;
/// Longest fragment of a record (RFC 8446, 5.1).
const FRAGMENT_BYTES_MAX: usize = 1 << 14;

const RECORD_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const NAME_HOST: u8 = 0;

/// Why no name can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// So far it is a hello, and it is not complete.
    #[error("the hello is not complete")]
    NeedMore,
    /// The first bytes are not a TLS handshake.
    #[error("not TLS")]
    NotTls,
    /// It begins as a hello and is none, or none within the bounds.
    #[error("the hello is malformed")]
    Malformed,
}

/// The name that the hello at the beginning of these bytes asks for; `None` where it asks for none.
///
/// # Errors
/// [`Unreadable`]; past [`HELLO_BYTES_MAX`] no answer is [`Unreadable::NeedMore`] any more.
pub fn server_name(bytes: &[u8]) -> Result<Option<Host>, Unreadable> {
    match message(bytes) {
        Err(Unreadable::NeedMore) if bytes.len() >= HELLO_BYTES_MAX => Err(Unreadable::Malformed),
        Err(unreadable) => Err(unreadable),
        // The message is whole, so whatever is missing inside of it is missing for good.
        Ok(hello) => name(&hello).ok_or(Unreadable::Malformed),
    }
}

/// The body of the hello, put together from its records.
fn message(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let (mut rest, mut message) = (Reader(bytes), Vec::new());
    for record in 0..HELLO_RECORDS_MAX {
        let unknown = if record == 0 {
            Unreadable::NotTls
        } else {
            Unreadable::Malformed
        };
        if rest.number(1).ok_or(Unreadable::NeedMore)? != usize::from(RECORD_HANDSHAKE) {
            return Err(unknown);
        }
        // Major version 3 for SSL 3.0 to TLS 1.3; the minor one means nothing.
        if rest.number(1).ok_or(Unreadable::NeedMore)? != 3 {
            return Err(unknown);
        }
        rest.number(1).ok_or(Unreadable::NeedMore)?;
        let length = rest.number(2).ok_or(Unreadable::NeedMore)?;
        if length == 0 || length > FRAGMENT_BYTES_MAX {
            return Err(unknown);
        }
        let fragment = rest.at_most(length);
        message.extend_from_slice(fragment);
        let mut whole = Reader(&message);
        match whole.number(1) {
            Some(kind) if kind != usize::from(MESSAGE_CLIENT_HELLO) => return Err(Unreadable::Malformed),
            Some(_) | None => {}
        }
        if let Some(length) = whole.number(3) {
            if length > HELLO_BYTES_MAX {
                return Err(Unreadable::Malformed);
            }
            if let Some(body) = whole.take(length) {
                return Ok(body.to_vec());
            }
        }
        if fragment.len() < length {
            return Err(Unreadable::NeedMore);
        }
    }
    Err(Unreadable::Malformed)
}

/// `None` where the hello breaks its grammar.
fn name(hello: &[u8]) -> Option<Option<Host>> {
    let mut hello = Reader(hello);
    hello.take(2 + 32)?; // legacy version, random
    let session = hello.vector(1)?;
    let ciphers = hello.vector(2)?;
    let compressions = hello.vector(1)?;
    if session.0.len() > 32 || ciphers.0.is_empty() || compressions.0.is_empty() {
        return None;
    }
    if hello.0.is_empty() {
        // Before TLS 1.2 a hello could end here.
        return Some(None);
    }
    let mut extensions = hello.vector(2)?;
    if !hello.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == usize::from(EXTENSION_SERVER_NAME) && found.replace(host(content)?).is_some() {
            // Two of one kind: whoever reads the other one sees another name.
            return None;
        }
    }
    Some(found)
}

/// The one name of the extension, in normal form; an address is no name (RFC 6066, 3).
fn host(mut extension: Reader<'_>) -> Option<Host> {
    let mut names = extension.vector(2)?;
    let kind = names.number(1)?;
    let name = names.vector(2)?;
    if kind != usize::from(NAME_HOST) || !names.0.is_empty() || !extension.0.is_empty() {
        return None;
    }
    match Host::parse(std::str::from_utf8(name.0).ok()?).ok()? {
        host @ Host::Name(_) => Some(host),
        Host::Address(_) => None,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn at_most(&mut self, count: usize) -> &'a [u8] {
        let count = count.min(self.0.len());
        self.take(count).unwrap_or_default()
    }

    /// A number of so many bytes, the high one first.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let number = self.take(bytes)?.iter();
        Some(number.fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    }

    /// As many bytes as a number of so many bytes says.
    fn vector(&mut self, length_bytes: usize) -> Option<Self> {
        let length = self.number(length_bytes)?;
        self.take(length).map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(length_bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - length_bytes..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, content)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        let entry = [&[NAME_HOST][..], &vector(2, name)].concat();
        extension(EXTENSION_SERVER_NAME, &vector(2, &entry))
    }

    /// GREASE (RFC 8701): a value that means nothing, in every list.
    const GREASE: u16 = 0x1a1a;
    const ECH: u16 = 0xfe0d;

    fn message(extensions: Option<&[Vec<u8>]>) -> Vec<u8> {
        let mut body = [&[3, 3][..], &[7; 32], &vector(1, &[9; 32])].concat();
        body.extend(vector(2, &[0x1a, 0x1a, 0x13, 0x01]));
        body.extend(vector(1, &[0]));
        if let Some(extensions) = extensions {
            body.extend(vector(2, &extensions.concat()));
        }
        [&[MESSAGE_CLIENT_HELLO][..], &vector(3, &body)].concat()
    }

    fn records(message: &[u8], fragment: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[RECORD_HANDSHAKE, 3, 1][..], &vector(2, part)].concat();
        message.chunks(fragment).flat_map(record).collect()
    }

    fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        records(&message(Some(extensions)), FRAGMENT_BYTES_MAX)
    }

    fn named(name: &str) -> Result<Option<Host>, Unreadable> {
        Ok(Some(Host::Name(name.to_owned())))
    }

    #[test]
    fn what_a_hello_asks_for() {
        let plain = || sni(b"api.example.com");
        let list = |entries: &[u8]| vec![extension(EXTENSION_SERVER_NAME, &vector(2, entries))];
        let (none, malformed) = (Ok(None), Err(Unreadable::Malformed));
        for (what, bytes, expected) in [
            ("plain", hello(&[plain()]), named("api.example.com")),
            (
                "upper case",
                hello(&[sni(b"API.Example.COM")]),
                named("api.example.com"),
            ),
            (
                "behind GREASE",
                hello(&[extension(GREASE, &[]), plain()]),
                named("api.example.com"),
            ),
            (
                "ECH, the outer name",
                hello(&[extension(ECH, &[1; 300]), plain()]),
                named("api.example.com"),
            ),
            ("no SNI", hello(&[extension(GREASE, &[0])]), none),
            (
                "no extensions",
                records(&message(None), FRAGMENT_BYTES_MAX),
                Ok(None),
            ),
            (
                "data behind it",
                [hello(&[plain()]), vec![20, 3, 3, 0, 1, 1]].concat(),
                named("api.example.com"),
            ),
            (
                "twice",
                hello(&[plain(), sni(b"other.example")]),
                malformed.clone(),
            ),
            ("an address", hello(&[sni(b"192.175.48.1")]), malformed.clone()),
            (
                "an IPv6 address",
                hello(&[sni(b"[2620:4f:8000::1]")]),
                malformed.clone(),
            ),
            ("an empty name", hello(&[sni(b"")]), malformed.clone()),
            (
                "NUL in the name",
                hello(&[sni(b"api.example.com\0.evil.example")]),
                malformed.clone(),
            ),
            ("not UTF-8", hello(&[sni(b"api\xff.example")]), malformed.clone()),
            ("an empty list", hello(&list(&[])), malformed.clone()),
            (
                "an empty extension",
                hello(&[extension(EXTENSION_SERVER_NAME, &[])]),
                malformed.clone(),
            ),
            (
                "another kind of name",
                hello(&list(&[1, 0, 1, b'a'])),
                malformed.clone(),
            ),
            (
                "two names",
                hello(&list(&[0, 0, 1, b'a', 0, 0, 1, b'b'])),
                malformed.clone(),
            ),
            (
                "a server's hello",
                records(&[2, 0, 0, 1, 0], 5),
                malformed.clone(),
            ),
            ("longer than any", records(&[1, 0, 0x80, 0], 4), malformed.clone()),
        ] {
            assert_eq!(server_name(&bytes), expected, "{what}");
        }
    }

    #[test]
    fn what_is_not_tls() {
        for (bytes, expected) in [
            (&b""[..], Unreadable::NeedMore),
            (b"\x16", Unreadable::NeedMore),
            (b"\x16\x03", Unreadable::NeedMore),
            (b"GET / HTTP/1.1\r\n", Unreadable::NotTls),
            (b"SSH-2.0-x\r\n", Unreadable::NotTls),
            (b"\x16\x02", Unreadable::NotTls),
            (b"\x15\x03\x01\x00\x02\x01\x00", Unreadable::NotTls),
            (b"\x16\x03\x01\x00\x00", Unreadable::NotTls),
            (b"\x16\x03\x01\x40\x01", Unreadable::NotTls),
        ] {
            assert_eq!(server_name(bytes), Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn a_hello_cut_at_any_byte_asks_for_more() {
        let message = message(Some(&[
            extension(GREASE, &[0]),
            sni(b"api.example.com"),
            extension(ECH, &[1; 40]),
        ]));
        for fragment in [message.len(), 40, 12] {
            let whole = records(&message, fragment);
            assert_eq!(server_name(&whole), named("api.example.com"), "{fragment}");
            for end in 0..whole.len() {
                assert_eq!(
                    server_name(&whole[..end]),
                    Err(Unreadable::NeedMore),
                    "{fragment} {end}"
                );
            }
        }
    }

    #[test]
    fn bytes_and_records_are_bounded() {
        let padded = |length: usize| message(Some(&[extension(21, &vec![0; length]), sni(b"a.example")]));
        let most = padded(HELLO_BYTES_MAX - 200);
        assert_eq!(
            server_name(&records(&most, FRAGMENT_BYTES_MAX)),
            named("a.example")
        );
        let long = records(&padded(HELLO_BYTES_MAX), FRAGMENT_BYTES_MAX);
        assert_eq!(server_name(&long), Err(Unreadable::Malformed));
        let small = padded(0);
        let fragment = small.len().div_ceil(HELLO_RECORDS_MAX);
        assert_eq!(server_name(&records(&small, fragment)), named("a.example"));
        assert_eq!(
            server_name(&records(&small, fragment - 1)),
            Err(Unreadable::Malformed),
            "one record past the bound"
        );
        let begun = &records(&most, FRAGMENT_BYTES_MAX)[..100];
        let drip = [begun, &vec![0; HELLO_BYTES_MAX - 200]].concat();
        assert_eq!(server_name(&drip), Err(Unreadable::NeedMore));
    }

    #[test]
    fn no_changed_byte_makes_it_panic() {
        let whole = hello(&[extension(GREASE, &[0]), sni(b"api.example.com")]);
        for position in 0..whole.len() {
            for byte in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[position] = byte;
                let _ = server_name(&changed);
            }
        }
    }
}
