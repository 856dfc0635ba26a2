//! Chunk-size lines: a size, and extensions that are checked and dropped (RFC 9112, 7.1).

use super::SIZE_LINE_BYTES_MAX;
use crate::server::head::is_token;
use crate::server::reason::Fault;

/// The chunk-size line at the buffer's start, without its CRLF, once it is complete.
pub(super) fn size_line(buffer: &[u8]) -> Result<Option<&[u8]>, Fault> {
    const BROKEN: Fault = Fault::MalformedRequest("a chunk size line is malformed");
    let odd = buffer
        .iter()
        .position(|byte| (*byte < 0x20 && *byte != b'\t') || *byte >= 0x7f);
    if odd.unwrap_or(buffer.len()) > SIZE_LINE_BYTES_MAX {
        return Err(BROKEN);
    }
    let Some(at) = odd else { return Ok(None) };
    match (buffer.get(at), buffer.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(buffer.get(..at)),
        (Some(b'\r'), None) => Ok(None),
        _ => Err(BROKEN),
    }
}

/// The size, and how many digits it took. Behind it, only well-formed extensions.
pub(super) fn chunk_size(line: &[u8]) -> Result<(u64, usize), Fault> {
    const BROKEN: Fault = Fault::MalformedRequest("a chunk size is malformed");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // 15 digits cannot overflow; more are leading zeros or a lie.
    if digits == 0 || digits > 15 {
        return Err(BROKEN);
    }
    let (size, extensions) = line.split_at(digits);
    let size = std::str::from_utf8(size)
        .ok()
        .and_then(|size| u64::from_str_radix(size, 16).ok())
        .ok_or(BROKEN)?;
    if extensions_are_valid(extensions) {
        Ok((size, digits))
    } else if blank(extensions).is_empty() {
        Err(Fault::MalformedRequest("a blank stands behind a chunk size"))
    } else {
        Err(Fault::MalformedRequest(
            "what stands behind a chunk size is no extension",
        ))
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, a value being a token or a quoted string.
fn extensions_are_valid(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some((b';', tail)) = blank(rest).split_first() else {
            return false;
        };
        let Some(tail) = token(blank(tail)) else {
            return false;
        };
        rest = tail;
        if let Some((b'=', tail)) = blank(tail).split_first() {
            let tail = blank(tail);
            let value = if tail.first() == Some(&b'"') {
                quoted(tail)
            } else {
                token(tail)
            };
            let Some(tail) = value else { return false };
            rest = tail;
        }
    }
    true
}

fn blank(bytes: &[u8]) -> &[u8] {
    let count = bytes
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    bytes.get(count..).unwrap_or_default()
}

/// What is behind a token of at least one character.
fn token(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.iter().take_while(|byte| is_token(**byte)).count();
    if count == 0 { None } else { bytes.get(count..) }
}

/// What is behind a quoted string.
fn quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(1..)?;
    loop {
        match rest {
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', _, tail @ ..] | [_, tail @ ..] => rest = tail,
            [] => return None,
        }
    }
}
