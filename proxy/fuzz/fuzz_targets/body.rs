//! Any bytes as a body: no panic, the same result however they are cut and taken, and never a byte beyond the end that
//! was declared.
#![no_main]

use bytes::BytesMut;
use egressway_proxy::server::body::{Decoder, Step};
use egressway_proxy::server::head::Framing;
use libfuzzer_sys::fuzz_target;

/// What a decoder made of its input.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    body: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What stands behind the end, if the body has ended.
    rest: Option<Vec<u8>>,
    malformed: bool,
}

fuzz_target!(|input: (&[u8], u8, u16, u8, u8)| {
    let (bytes, framing, length, part, taken) = input;
    let framing = match framing % 4 {
        0 => Framing::None,
        1 => Framing::Length(u64::from(length)),
        2 => Framing::Chunked,
        _ => Framing::Close,
    };
    let whole = decode(framing, bytes, bytes.len().max(1), usize::MAX);
    let parts = decode(
        framing,
        bytes,
        usize::from(part).max(1),
        usize::from(taken).max(1),
    );
    // What was in front of a mistake may have gone on already or not.
    if whole.malformed {
        assert!(parts.malformed);
        assert!(parts.body == whole.body);
        return;
    }
    assert_eq!(parts, whole);
    let rest = whole.rest.as_ref().map_or(0, Vec::len);
    match framing {
        Framing::None => assert_eq!((whole.body.len(), rest), (0, bytes.len())),
        Framing::Length(length) => {
            let expected = bytes.len().min(usize::try_from(length).unwrap());
            assert_eq!(whole.body, bytes[..expected]);
            assert_eq!(whole.rest.is_some(), expected as u64 == length);
        }
        Framing::Chunked => assert!(whole.body.len() + rest <= bytes.len()),
        Framing::Close => assert_eq!((&*whole.body, whole.rest), (bytes, None)),
    }
});

/// Feeds so many bytes at once and takes at most so many at once.
fn decode(framing: Framing, bytes: &[u8], part: usize, taken: usize) -> Decoded {
    let (mut decoder, mut buffer) = (Decoder::new(framing), BytesMut::new());
    let (mut parts, mut decoded) = (bytes.chunks(part), Decoded::default());
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Step::Data(count)) => {
                let count = count.min(taken);
                decoded.body.extend_from_slice(&buffer[..count]);
                decoder.take(&mut buffer, count);
            }
            Ok(Step::Trailers(fields)) => {
                decoded.trailers = fields
                    .iter()
                    .map(|(name, value)| (name.to_vec(), value.to_vec()))
                    .collect();
            }
            Ok(Step::End) => {
                let mut rest = buffer.to_vec();
                parts.for_each(|part| rest.extend_from_slice(part));
                decoded.rest = Some(rest);
                return decoded;
            }
            Ok(Step::More) => match parts.next() {
                Some(part) => buffer.extend_from_slice(part),
                None => return decoded,
            },
            Err(_) => {
                decoded.malformed = true;
                return decoded;
            }
        }
    }
}
