//! PEM as people have it: with a byte order mark that an editor wrote, and comments in another encoding.
//!
//! PEM itself is ASCII (RFC 7468), and whatever stands outside of its blocks says nothing; but it must not keep the blocks
//! from being read.

use std::borrow::Cow;

/// What Windows editors write in front of UTF-8, and what stands in the middle of files that were joined.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text with nothing in front of its blocks that a reader would stumble over, and letters of no known encoding
/// replaced. What holds no PEM is `None`: it may be a secret, whose every byte counts.
#[must_use]
pub fn pem_text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains("-----BEGIN ") {
        return None;
    }
    Some(if text.contains(BYTE_ORDER_MARK) {
        Cow::Owned(text.replace(BYTE_ORDER_MARK, ""))
    } else {
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_foreign_letters_do_not_hide_blocks() {
        const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (bytes, expected) in [
            (BLOCK.as_bytes().to_vec(), Some(BLOCK.to_owned())),
            (
                format!("\u{feff}{BLOCK}\u{feff}{BLOCK}").into_bytes(),
                Some(BLOCK.repeat(2)),
            ),
            (
                [b"Z\xfcrich\r\n", BLOCK.as_bytes()].concat(),
                Some(format!("Z\u{fffd}rich\r\n{BLOCK}")),
            ),
            (b"\xef\xbb\xbfsecret".to_vec(), None),
            (b"s\xe4cret".to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(pem_text(&bytes).map(Cow::into_owned), expected);
        }
    }
}
