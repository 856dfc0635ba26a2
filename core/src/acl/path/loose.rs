//! A path as the most obliging server reads it: decoded until nothing is left to decode, overlong UTF-8 and look-alikes of
//! ASCII taken for ASCII, in one case, without parameters and without what trails a name.
//!
//! No server does all of it; each does some. What any of them would find in a path is found here, so that a rule by path
//! does not depend on which of them stands behind the name. What no text shows (links, rewriting, short names of files) is
//! not found, and the manual says so.

use super::octet;

/// Most rounds of decoding and of taking look-alikes for ASCII. Decoding alone never needs a second round, so each stands
/// for a percent sign that was itself a look-alike; nobody writes that by accident twice.
const ROUNDS_MAX: usize = 4;

/// Reads a path; `None` where a separator, a dot segment or a control character comes to light.
pub(super) fn read(path: &str) -> Option<String> {
    let mut bytes = unescape(path.as_bytes());
    for _ in 0..ROUNDS_MAX {
        let (plain, changed) = ascii(&bytes);
        bytes = plain;
        if !changed {
            return judge(path, &bytes);
        }
        bytes = unescape(&bytes);
    }
    None
}

/// The same of a path that is ordinary.
pub(super) fn fold(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(|segment| name(segment.as_bytes())).collect();
    segments.join("/")
}

/// Whether two segments name the same: in any case, whatever dots trail.
pub(super) fn same(found: &str, wanted: &str) -> bool {
    let bare = |text| match str::trim_end_matches(text, '.') {
        "" => text,
        bare => bare,
    };
    bare(found).eq_ignore_ascii_case(bare(wanted))
}

fn judge(path: &str, bytes: &[u8]) -> Option<String> {
    let separators = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
    let brought = separators(bytes) != separators(path.as_bytes()) || bytes.contains(&b'\\');
    if brought || bytes.iter().any(u8::is_ascii_control) || has_c1(bytes) {
        return None;
    }
    let segments = bytes.split(|byte| *byte == b'/');
    if segments.clone().any(is_dots) {
        return None;
    }
    let names: Vec<String> = segments.map(name).collect();
    Some(names.join("/"))
}

/// U+0080 to U+009F, in UTF-8.
fn has_c1(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| matches!(pair, [0xc2, 0x80..=0x9f]))
}

/// What of a segment names something: some servers cut parameters off, some decode what then looks like a query.
fn cut(segment: &[u8]) -> &[u8] {
    segment
        .split(|byte| matches!(byte, b';' | b'?' | b'#'))
        .next()
        .unwrap_or(segment)
}

/// Whether a segment is one of RFC 3986's dot segments, blanks and parameters aside.
fn is_dots(segment: &[u8]) -> bool {
    let mut solid = cut(segment).iter().filter(|byte| !matches!(byte, b' ' | 0xa0));
    matches!(
        (solid.next(), solid.next(), solid.next()),
        (Some(b'.'), None | Some(b'.'), None)
    )
}

/// The name that a segment stands for: UTF-8, or Latin-1 where it is none, in one case, without what trails.
fn name(segment: &[u8]) -> String {
    let mut text = String::with_capacity(segment.len());
    let mut rest = cut(segment);
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(valid) => valid,
            Err(error) => rest
                .get(..error.valid_up_to())
                .and_then(|valid| std::str::from_utf8(valid).ok())
                .unwrap_or_default(),
        };
        text.extend(valid.chars().flat_map(in_one_case));
        rest = rest.get(valid.len()..).unwrap_or_default();
        if let Some((byte, others)) = rest.split_first() {
            text.extend(in_one_case(char::from(*byte)));
            rest = others;
        }
    }
    let blank = |character: char| character.is_whitespace();
    let solid = text.trim_matches(blank);
    match solid.trim_end_matches(|character| character == '.' || blank(character)) {
        "" => solid.to_owned(),
        bare => bare.to_owned(),
    }
}

/// Up first: what has one capital has one small letter then, such as the long s and the dotless i.
fn in_one_case(character: char) -> impl Iterator<Item = char> {
    character.to_uppercase().flat_map(char::to_lowercase)
}

/// Decodes until nothing is left to decode, in one pass: what a byte completes is decoded before the next is looked at.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        out.push(*byte);
        loop {
            let (length, character) = match out.as_slice() {
                [.., b'%', high, low] if let Some(octet) = octet(*high, *low) => (3, Err(octet)),
                // What one family of servers writes for UTF-16.
                [.., b'%', b'u' | b'U', a, b, c, d]
                    if let (Some(high), Some(low)) = (octet(*a, *b), octet(*c, *d)) =>
                {
                    let unit = u32::from(u16::from_be_bytes([high, low]));
                    (6, Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)))
                }
                _ => break,
            };
            out.truncate(out.len().saturating_sub(length));
            match character {
                Err(octet) => out.push(octet),
                Ok(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out
}

/// Overlong forms and look-alikes of ASCII as ASCII, and whether there were any.
fn ascii(bytes: &[u8]) -> (Vec<u8>, bool) {
    let (mut out, mut changed) = (Vec::with_capacity(bytes.len()), false);
    let mut rest = bytes;
    while let Some((first, others)) = rest.split_first() {
        let plain = sequence(rest).and_then(|(code, length)| Some((as_ascii(code)?, length)));
        match plain {
            Some((plain, length)) => {
                out.extend_from_slice(plain.as_bytes());
                changed = true;
                rest = rest.get(length..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = others;
            }
        }
    }
    (out, changed)
}

/// The code point that a decoder finds which does not ask for the shortest form, and how many bytes it takes.
fn sequence(bytes: &[u8]) -> Option<(u32, usize)> {
    let (first, others) = bytes.split_first()?;
    let (bits, length) = match first {
        0xc0..=0xdf => (first & 0x1f, 2),
        0xe0..=0xef => (first & 0x0f, 3),
        0xf0..=0xf7 => (first & 0x07, 4),
        0xf8..=0xfb => (first & 0x03, 5),
        0xfc..=0xfd => (first & 0x01, 6),
        _ => return None,
    };
    let mut code = u32::from(bits);
    let mut more = others.iter();
    for _ in 1..length {
        match more.next() {
            Some(byte @ 0x80..=0xbf) => code = (code << 6) | u32::from(byte & 0x3f),
            Some(_) | None => return None,
        }
    }
    Some((code, length))
}

/// What of ASCII a code point of more than one byte is, or is taken for: by Unicode's compatibility mapping (NFKC) or by the best fit of a code
/// page. Only what a path gives a meaning to, and the full-width forms; an empty text is what is not seen at all.
fn as_ascii(code: u32) -> Option<&'static str> {
    /// U+0020 to U+007E, one byte each.
    const ASCII: &str =
        " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
    let at = |code: u32| {
        let at = usize::try_from(code.checked_sub(0x20)?).ok()?;
        ASCII.get(at..at.checked_add(1)?)
    };
    Some(match code {
        // Overlong: a control character stands for all of them.
        0..=0x1f | 0x7f => "\0",
        0x20..=0x7e => at(code)?,
        0xff01..=0xff5e => at(code.checked_sub(0xfee0)?)?,
        0x00a0 | 0x1680 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000 => " ",
        0x00ad | 0x200b..=0x200f | 0x2060 | 0xfeff => "",
        0x2024 | 0xfe52 => ".",
        0x2025 => "..",
        0x2026 | 0xfe19 => "...",
        0x2044 | 0x2215 => "/",
        0x2216 | 0xfe68 => "\\",
        0x2100 => "a/c",
        0x2101 => "a/s",
        0x2105 => "c/o",
        0x2106 => "c/u",
        0x037e | 0xfe54 => ";",
        0xfe56 => "?",
        0xfe5f => "#",
        0xfe6a => "%",
        _ => return None,
    })
}
